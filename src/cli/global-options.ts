import { type Command, InvalidArgumentError } from './commander.ts';

/** The file that is read when none is named, so that every command in a folder means the same gateway. */
export const DEFAULT_FILE = 'sallyport.yaml';

/** Those of `GlobalOptions`. */
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
    .option(
      '--bearer-token-file <file>',
      'file with a token of the cluster, instead of an admin certificate (default: $SALLYPORT_BEARER_TOKEN_FILE)',
    )
    .option(
      '--bearer-token <token>',
      'the token itself, which other users of this machine can see here (default: $SALLYPORT_BEARER_TOKEN)',
    );
}

function collectSettings(text: string, previous: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('write path=value, for example https.port=0');
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}
