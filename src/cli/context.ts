import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type ConfigSources, type LoadedConfig, loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { AdminClient } from './admin/admin-client.ts';
import { bearerCredentials } from './admin/bearer-credentials.ts';
import { OUTPUT_FORMATS, type OutputFormat, parseDuration } from './output.ts';
import type { Terminal } from './terminal.ts';

/** Options every command has; commander gives them through `optsWithGlobals()`. */
export interface GlobalOptions {
  readonly config?: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly admin?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly bearerToken?: string;
  readonly output?: OutputFormat;
}

/** The file that is read when none is named, so that every command in a folder means the same gateway. */
const DEFAULT_FILE = 'sallyport.yaml';

export function addGlobalOptions(program: Command): Command {
  return program
    .option(
      '-c, --config <file>',
      `configuration file (default: $SALLYPORT_CONFIG, or ${DEFAULT_FILE} when it exists)`,
    )
    .option(
      '--set <path=value>',
      'set one setting, for example --set https.port=0; may be repeated',
      collectSettings,
      {},
    )
    .option(
      '--admin <host:port>',
      'admin address of the gateway (default: $SALLYPORT_ADMIN, or what the configuration says)',
    )
    .option('--cert <file>', 'admin certificate')
    .option('--key <file>', 'key of the admin certificate')
    .option('--ca <file>', 'CA of the gateway')
    .option('--bearer-token <token>', 'token of the cluster, instead of an admin certificate');
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

/** @throws ADMIN_CREDENTIALS_MISSING */
export function connectAdmin(terminal: Terminal, options: GlobalOptions): AdminClient {
  const { config } = loadForCommand(terminal, options);
  const folder = config.secretStore.path;
  const address = adminAddressOf(terminal, options, config);
  const hasCertificate = options.cert !== undefined || options.key !== undefined;
  if (options.bearerToken !== undefined || (config.secretStore.kind === 'kubernetes' && !hasCertificate))
    return new AdminClient({
      address,
      credentials: () => bearerCredentials(config, options),
      hubNames: config.advertise.addresses.filter(Boolean),
    });
  return new AdminClient({
    address,
    cert: options.cert ?? `${folder}/admin.crt`,
    key: options.key ?? `${folder}/admin.key`,
    ca: options.ca ?? `${folder}/ca.crt`,
  });
}

/** `host:port` of the admin listener. */
export function adminAddressOf(terminal: Terminal, options: GlobalOptions, { admin }: Config): string {
  return options.admin ?? terminal.env.SALLYPORT_ADMIN ?? `${reachable(admin.host)}:${admin.port}`;
}

/** An address to connect to for an address that was bound. */
export function reachable(host: string): string {
  return host === '0.0.0.0' || host === '::'
    ? 'localhost'
    : host.includes(':') && !host.startsWith('[')
      ? `[${host}]`
      : host;
}

export function durationArgument(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms <= 0)
    throw new InvalidArgumentError('write a duration such as 90s, 15m, 12h or 7d');
  return ms;
}

function collectSettings(text: string, previous: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('write path=value, for example https.port=0');
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}
