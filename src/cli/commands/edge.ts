import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SallyportError } from '../../core/errors.ts';
import { orAborted } from '../../core/or-aborted.ts';
import { printable } from '../../core/printable.ts';
import { TRANSPORTS, type TransportName } from '../../protocol/listener-names.ts';
import type { EdgeClientOptions } from '../../sdk/edge-client-options.ts';
import { Command, Option } from '../commander.ts';
import { type GlobalOptions, loadForCommand, nodeArgument } from '../context.ts';
import { type HostPort, parseHostPort } from '../host-port.ts';
import { readLines } from '../lines.ts';
import type { Terminal } from '../terminal.ts';
import { terminalLog } from '../terminal-log.ts';
import { UsageError } from '../usage-error.ts';

/** How long what was typed may take to be acknowledged at the end. */
const LAST_WORDS_MS = 2_000;
/** Of what is typed; what a message may have by default. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

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
    .requiredOption('--node <name>', 'name of this node', nodeArgument)
    .option(
      '--hub <host[:port]>',
      'name or address of the hub, and its HTTPS port; other ports are those of the configuration',
      'localhost',
    )
    .option('--token <token>', 'token to join with; not needed once joined (default: $SALLYPORT_TOKEN)')
    .option('--token-file <file>', 'file that holds the token')
    .option('--directory <folder>', 'where key and certificate are kept (default: ./sallyport-node-NODE)')
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
  sallyport edge run --node edge-1 --hub hub.example.com:443 --set websocket.port=444
  echo '{"temperature":21}' | sallyport edge run --node edge-1`,
    )
    .action(async (options: EdgeOptions, self: Command) =>
      runEdge(terminal, options, self.optsWithGlobals<GlobalOptions>()),
    );
  return command;
}

async function runEdge(terminal: Terminal, options: EdgeOptions, globals: GlobalOptions): Promise<void> {
  const { config } = loadForCommand(terminal, globals);
  const { bold, dim, green, yellow, red } = terminal.paint('stdout');
  const { host, port: httpsPort = config.https.port } = readHub(options.hub);
  const address = (name: TransportName) => `${host}:${config[name].port}`;
  const clientOptions: EdgeClientOptions = {
    node: options.node,
    directory: options.directory ?? `sallyport-node-${options.node}`,
    transport: options.transport,
    hub: {
      https: `${host}:${httpsPort}`,
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
  const say = (text: string) => terminal.printError(`${dim(new Date().toISOString().slice(11, 23))} ${text}`);
  // The first signal ends it, whatever it is doing.
  const signal = terminal.interrupted();
  const onWait = (delayMs: number, problem: string) =>
    say(`${yellow('waiting')}: ${problem}; again in ${Math.ceil(delayMs / 1000)} s`);
  const entering =
    token === undefined
      ? EdgeClient.open(clientOptions, components)
      : EdgeClient.join({ ...clientOptions, token, signal, onWait }, components);
  const client = await unlessAborted(entering, signal);
  if (!client) return;

  client.on('connected', ({ transport, hub }) => say(`${green('connected')} to ${hub} over ${transport}`));
  // The hub said never: a supervisor has to see that nobody is connected any more.
  const shutOut = new Promise<SallyportError>((resolve) => {
    client.on('disconnected', ({ reason, final }) => {
      if (signal.aborted) return say('bye');
      const next = final ? 'not trying again' : 'trying again';
      say(`${yellow('disconnected')}: ${reason?.text ?? 'the hub is gone'}; ${next}`);
      if (final) resolve(final);
    });
  });
  client.on('renewed', ({ notAfter }) => say(`certificate renewed, valid until ${notAfter.toISOString()}`));
  client.on('error', (error) => say(`${red('error')}: ${error.message}`));
  client.on('message', ({ route, content }) => {
    terminal.print(
      `${bold(printable(route.operation ?? ''))} ${printable(`${route.resource ?? ''} ${JSON.stringify(content)}`)}`,
    );
  });

  const pending = new Set<Promise<void>>();
  const onLine = (line: string) => {
    if (line.trim() === '') return;
    const sending = client
      .send(draftOf(line))
      .then(() => say(dim('acknowledged')))
      .catch((error: Error) => say(`${red('not sent')}: ${error.message}`));
    pending.add(sending);
    void sending.finally(() => pending.delete(sending));
  };
  const onTooLong = () =>
    say(`${red('not sent')}: a line is longer than ${MAX_LINE_BYTES} bytes, the largest message`);
  const stopReading = readLines(terminal.stdin, { maxBytes: MAX_LINE_BYTES, onLine, onTooLong });
  try {
    await unlessAborted(client.connect({ signal }), signal);
    const why = await unlessAborted(shutOut, signal);
    if (why) throw why;
  } finally {
    stopReading();
    // Without a link nobody could acknowledge them.
    if (client.connected) await Promise.race([Promise.allSettled(pending), sleep(LAST_WORDS_MS)]);
    await client.close();
    // An open pipe would keep the process waiting for lines that nobody takes.
    terminal.stdin.destroy?.();
  }
}

/** What the promise resolves with; undefined as soon as the signal is aborted. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await orAborted(promise, signal);
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

/** @throws UsageError when it is neither a name, an address, nor one of them with a port */
function readHub(text: string): HostPort {
  const hub = parseHostPort(text);
  if (hub) return hub;
  throw new UsageError(
    `--hub ${text} is neither HOST nor HOST:PORT; IPv6 addresses with a port need brackets`,
  );
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
