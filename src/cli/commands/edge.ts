import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Command, Option } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';
import { TRANSPORTS, type TransportName } from '../../protocol/listener-names.ts';
import { isNodeName } from '../../protocol/node-name.ts';
import type { EdgeClientOptions } from '../../sdk/edge-client-options.ts';
import { type GlobalOptions, loadForCommand } from '../context.ts';
import type { Terminal } from '../terminal.ts';
import { terminalLog } from '../terminal-log.ts';
import { UsageError } from '../usage-error.ts';

interface EdgeOptions {
  readonly node: string;
  readonly hub: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly directory?: string;
  readonly transport: 'auto' | TransportName;
  readonly verbose?: boolean;
}

export function edgeCommand(terminal: Terminal): Command {
  const command = new Command('edge').description('be an edge node');
  command
    .command('run')
    .description('join a hub, stay connected, print what arrives and send what is typed')
    .requiredOption('--node <name>', 'name of this node')
    .option('--hub <host>', 'name or address of the hub; ports are those of the configuration', 'localhost')
    .option('--token <token>', 'token to join with; not needed once joined (default: $SALLYPORT_TOKEN)')
    .option('--token-file <file>', 'file that holds the token')
    .option('--directory <folder>', 'where key and certificate are kept (default: ./edge-NODE)')
    .addOption(
      new Option('--transport <transport>', 'how to connect')
        .choices(['auto', ...TRANSPORTS])
        .default('auto'),
    )
    .option('--verbose', 'log what the client does')
    .addHelpText(
      'after',
      `
Type lines to send them: JSON becomes the content, anything else a text. "RESOURCE OPERATION JSON" sends to a resource.

Examples:
  sallyport edge run --node edge-1 --token "$(sallyport token create --node edge-1)"
  echo '{"temperature":21}' | sallyport edge run --node edge-1`,
    )
    .action(async (options: EdgeOptions, self: Command) =>
      runEdge(terminal, options, self.optsWithGlobals<GlobalOptions>()),
    );
  return command;
}

async function runEdge(terminal: Terminal, options: EdgeOptions, globals: GlobalOptions): Promise<void> {
  if (!isNodeName(options.node))
    throw new UsageError(`${options.node} is no node name: use lower-case letters, digits, dots and dashes`);
  const { config } = loadForCommand(terminal, globals);
  const { bold, dim, green, yellow, red } = terminal.paint('stdout');
  const host = options.hub.includes(':') && !options.hub.startsWith('[') ? `[${options.hub}]` : options.hub;
  const address = (name: 'https' | TransportName) => `${host}:${config[name].port}`;
  const clientOptions: EdgeClientOptions = {
    node: options.node,
    directory: options.directory ?? `edge-${options.node}`,
    transport: options.transport,
    hub: {
      https: address('https'),
      ...Object.fromEntries(
        TRANSPORTS.filter(
          (name) => name === 'websocket' || name === options.transport || config[name].enabled,
        ).map((name) => [name, address(name)]),
      ),
    },
  };
  const components = options.verbose ? { logger: terminalLog(terminal, 'debug', 'pretty') } : {};
  const token = readToken(terminal, options);
  const { EdgeClient } = await import('../../sdk/edge-client.ts');
  const client =
    token === undefined
      ? await EdgeClient.open(clientOptions, components)
      : await EdgeClient.join({ ...clientOptions, token }, components);

  const say = (text: string) => terminal.printError(`${dim(new Date().toISOString().slice(11, 23))} ${text}`);
  client.on('connected', ({ transport, hub }) => say(`${green('connected')} to ${hub} over ${transport}`));
  let leaving = false;
  client.on('disconnected', ({ reason, final }) => {
    if (leaving) return say('bye');
    say(
      `${yellow('disconnected')}: ${reason?.text ?? 'the hub is gone'}; ${final ? 'not trying again' : 'trying again'}`,
    );
  });
  client.on('renewed', ({ notAfter }) => say(`certificate renewed, valid until ${notAfter.toISOString()}`));
  client.on('error', (error) => say(`${red('error')}: ${error.message}`));
  client.on('message', ({ route, content }) => {
    terminal.print(
      `${bold(printable(route.operation ?? ''))} ${printable(`${route.resource ?? ''} ${JSON.stringify(content)}`)}`,
    );
  });

  const stopped = new Promise<undefined>((resolve) => {
    const asked = () => resolve(undefined);
    terminal.interrupted().addEventListener('abort', asked, { once: true });
  });
  // The hub said never: a supervisor has to see that nobody is connected any more.
  const refused = new Promise<string>((resolve) => {
    client.on('disconnected', ({ reason, final }) => {
      if (final) resolve(reason?.text ?? 'the hub is gone');
    });
  });
  await client.connect();
  const lines = createInterface({ input: terminal.stdin });
  const pending = new Set<Promise<void>>();
  lines.on('line', (line) => {
    if (line.trim() === '') return;
    const sending = client
      .send(draftOf(line))
      .then(() => say(dim('acknowledged')))
      .catch((error: Error) => say(`${red('not sent')}: ${error.message}`));
    pending.add(sending);
    void sending.finally(() => pending.delete(sending));
  });
  const why = await Promise.race([stopped, refused]);
  leaving = true;
  lines.close();
  await Promise.race([Promise.allSettled(pending), new Promise((resolve) => setTimeout(resolve, 2_000))]);
  await client.close();
  // An open pipe would keep the process waiting for lines that nobody takes.
  terminal.stdin.destroy?.();
  if (why !== undefined) throw new SallyportError('SESSION_CLOSED', { reason: why });
}

function draftOf(line: string): { resource: string; operation: string; content: unknown } {
  const words = /^(\S+\/\S+) (\S+) (.+)$/.exec(line);
  if (words) return { resource: words[1]!, operation: words[2]!, content: contentOf(words[3]!) };
  return { resource: 'app/line', operation: 'update', content: contentOf(line) };
}

function contentOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function readToken(terminal: Terminal, { token, tokenFile }: EdgeOptions): string | undefined {
  if (token !== undefined && tokenFile !== undefined)
    throw new UsageError('give --token or --token-file, not both');
  if (tokenFile !== undefined) return readFileSync(tokenFile, 'utf8').trim();
  return token ?? terminal.env.SALLYPORT_TOKEN;
}
