import { existsSync, readFileSync } from 'node:fs';
import { type ConfigSources, type LoadedConfig, loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { SallyportError } from '../core/errors.ts';
import { isNodeName } from '../protocol/node-name.ts';
import { AdminClient } from './admin/admin-client.ts';
import { InvalidArgumentError, Option } from './commander.ts';
import { DEFAULT_FILE } from './global-options.ts';
import { parseHostPort } from './host-port.ts';
import { OUTPUT_FORMATS, type OutputFormat, parseDuration } from './output.ts';
import type { Terminal } from './terminal.ts';
import { UsageError } from './usage-error.ts';

/** Options every command has; commander gives them through `optsWithGlobals()`. */
export interface GlobalOptions {
  readonly config?: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly admin?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly bearerToken?: string;
  readonly bearerTokenFile?: string;
  readonly output?: OutputFormat;
}

export function outputOption(): Option {
  return new Option('-o, --output <format>', 'how to print').choices(OUTPUT_FORMATS).default('table');
}

export function configSources(terminal: Terminal, options: GlobalOptions): ConfigSources {
  const file =
    options.config ?? terminal.env.SALLYPORT_CONFIG ?? (existsSync(DEFAULT_FILE) ? DEFAULT_FILE : undefined);
  return { ...(file ? { file } : {}), env: terminal.env, flags: options.set ?? {} };
}

export function loadForCommand(terminal: Terminal, options: GlobalOptions): LoadedConfig {
  return loadConfig(configSources(terminal, options));
}

/** @throws ADMIN_CREDENTIALS_MISSING, BEARER_UNREADABLE */
export function connectAdmin(terminal: Terminal, options: GlobalOptions): AdminClient {
  const { config } = loadForCommand(terminal, options);
  const folder = config.secretStore.path;
  const address = adminAddressOf(terminal, options, config);
  const hasCertificate = options.cert !== undefined || options.key !== undefined;
  const bearerToken = hasCertificate ? undefined : givenToken(terminal, options);
  if (bearerToken !== undefined || (config.secretStore.kind === 'kubernetes' && !hasCertificate))
    return new AdminClient({
      address,
      credentials: async () => {
        const { bearerCredentials } = await import('./admin/bearer-credentials.ts');
        return bearerCredentials(config, { ...options, ...(bearerToken ? { bearerToken } : {}) });
      },
      hubNames: config.advertise.addresses.filter(Boolean),
    });
  return new AdminClient({
    address,
    cert: options.cert ?? `${folder}/admin.crt`,
    key: options.key ?? `${folder}/admin.key`,
    ca: options.ca ?? `${folder}/ca.crt`,
  });
}

/**
 * The bearer token that was given: the command line wins over the environment.
 * @throws BEARER_UNREADABLE
 */
function givenToken({ env }: Terminal, { bearerToken, bearerTokenFile }: GlobalOptions): string | undefined {
  if (bearerToken !== undefined) return bearerToken;
  if (bearerTokenFile === undefined && env.SALLYPORT_BEARER_TOKEN) return env.SALLYPORT_BEARER_TOKEN;
  const path = bearerTokenFile ?? env.SALLYPORT_BEARER_TOKEN_FILE;
  if (!path) return undefined;
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new SallyportError('BEARER_UNREADABLE', { path, problem: 'it cannot be read' }, cause);
  }
  if (text === '') throw new SallyportError('BEARER_UNREADABLE', { path, problem: 'it is empty' });
  return text;
}

/** `host:port` of the admin listener. @throws UsageError */
export function adminAddressOf(terminal: Terminal, options: GlobalOptions, { admin }: Config): string {
  const given = options.admin ?? terminal.env.SALLYPORT_ADMIN;
  if (given === undefined) return `${reachable(admin.host)}:${admin.port}`;
  const address = parseHostPort(given);
  if (address) return `${address.host}:${address.port ?? admin.port}`;
  throw new UsageError(`the admin address ${given} is no HOST:PORT; IPv6 addresses need brackets`);
}

/** An address to connect to for an address that was bound. */
export function reachable(host: string): string {
  return host === '0.0.0.0' || host === '::'
    ? 'localhost'
    : host.includes(':') && !host.startsWith('[')
      ? `[${host}]`
      : host;
}

export function nodeArgument(text: string): string {
  if (!isNodeName(text))
    throw new InvalidArgumentError('a node name has lower-case letters, digits, dots and dashes');
  return text;
}

export function durationArgument(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms <= 0)
    throw new InvalidArgumentError('write a duration such as 90s, 15m, 12h or 7d');
  return ms;
}
