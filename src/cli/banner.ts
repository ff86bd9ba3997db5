import { resolve } from 'node:path';
import { loadConfig } from '../config/load.ts';
import type { ReadyInfo } from '../contracts/gateway-info.ts';
import { VERSION } from '../core/version.ts';
import type { Gateway } from '../gateway/start-gateway.ts';
import { LISTENER_NAMES } from '../protocol/listener-names.ts';
import { configSources, type GlobalOptions } from './context.ts';
import type { Terminal } from './terminal.ts';

/** What a person sees when the gateway is up: what listens where, and what to type next. */
export function banner(
  terminal: Terminal,
  gateway: Pick<Gateway, 'ready' | 'info'>,
  options: GlobalOptions,
): string {
  const { bold, dim, green, cyan } = terminal.paint('stderr');
  const ready = gateway.ready();
  const run = terminal.env.npm_lifecycle_event ? 'npm run -s sallyport --' : 'sallyport';
  const same = commandOptions(terminal, ready, options);
  const info = gateway.info();
  const listeners = info.listeners.map(({ name, detail }) => ({
    name,
    address: ready[name] ?? '',
    detail: detail ?? '',
  }));
  const line = (name: string, value: string) => `  ${name.padEnd(13)} ${value}`;
  return [
    '',
    `${bold('Sallyport')} ${VERSION} ${green('is ready')}`,
    ...listeners.map(({ name, address, detail }) => line(name, `${address}  ${dim(detail)}`.trimEnd())),
    ...(info.quicOff === undefined ? [] : [line('quic', dim(info.quicOff.replace(/^quic is /, '')))]),
    line('CA sha256', ready.caSha256),
    line('Secrets', ready.store),
    '',
    dim('In a second terminal:'),
    `  ${cyan(`${run} edge run --node edge-1 --token "$(${run} token create --node edge-1${same})"${same}`)}`,
    `  ${cyan(`${run} nodes list${same}`)}`,
    `  ${cyan(`${run} send edge-1 --resource app/hello --operation update --content '{"hello":"edge"}' --ack${same}`)}`,
    `  ${cyan(`${run} certs rotate hub${same}`)}   ${dim('and nothing drops')}`,
    `  ${cyan(`${run} dashboard${same}`)}   ${dim('the same in a browser')}`,
    '',
  ].join('\n');
}

/**
 * The options with which another command means this very gateway: the file, and what differs from what that
 * command would assume.
 */
function commandOptions(terminal: Terminal, ready: ReadyInfo, { config: file }: GlobalOptions): string {
  const { config } = loadConfig(configSources(terminal, file === undefined ? {} : { config: file }));
  const differing: string[] = [];
  for (const name of LISTENER_NAMES) {
    const port = Number(ready[name]?.split(':').at(-1) ?? config[name].port);
    if (ready[name] && !config[name].enabled) differing.push(` --set ${name}.enabled=true`);
    if (port !== config[name].port) differing.push(` --set ${name}.port=${port}`);
  }
  if (config.secretStore.kind === 'directory' && resolve(config.secretStore.path) !== ready.store)
    differing.push(` --set secretStore.path=${ready.store}`);
  return `${file === undefined ? '' : ` --config ${file}`}${differing.join('')}`;
}
