import type { Config } from '../config/schema.ts';
import type { GatewayInfo } from '../contracts/gateway-info.ts';
import { VERSION } from '../core/version.ts';
import type { ReadyInfo } from '../gateway.ts';
import { paint } from './output.ts';

/** What a person sees when the gateway is up: what listens where, and what to type next. */
export function banner(ready: ReadyInfo, config: Config, info?: Pick<GatewayInfo, 'listeners'>): string {
  const { bold, dim, green, cyan } = paint(process.stderr);
  const run = process.env.npm_lifecycle_event ? 'npm run -s sallyport --' : 'sallyport';
  const listeners = Object.entries(ready).filter(([name]) =>
    ['https', 'websocket', 'quic', 'webtransport', 'admin'].includes(name),
  );
  const detail = (name: string) => {
    const said = info?.listeners.find((listener) => listener.name === name)?.detail;
    return said === undefined ? '' : `  ${said}`;
  };
  const ownPorts =
    Number(
      String(ready.admin ?? '')
        .split(':')
        .at(-1),
    ) === config.admin.port
      ? ''
      : ` --admin ${ready.admin}`;
  return [
    '',
    `${bold('Sallyport')} ${VERSION} ${green('is ready')}`,
    ...listeners.map(([name, address]) => `  ${name.padEnd(13)} ${address}${dim(detail(name))}`),
    `  ${'CA sha256'.padEnd(13)} ${ready.caSha256}`,
    `  ${'Secrets'.padEnd(13)} ${ready.store}`,
    '',
    dim('In a second terminal:'),
    `  ${cyan(`${run} edge run${ownPorts} --node edge-1 --token "$(${run} token create${ownPorts} --node edge-1)"`)}`,
    `  ${cyan(`${run} nodes list${ownPorts}`)}`,
    `  ${cyan(`${run} send edge-1${ownPorts} --resource app/hello --operation update --content '{"hello":"edge"}' --ack`)}`,
    `  ${cyan(`${run} certs rotate hub${ownPorts}`)}   ${dim('and nothing drops')}`,
    '',
  ].join('\n');
}
