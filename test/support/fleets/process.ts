import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Readable, Writable } from 'node:stream';
import { runProgram } from '../../../src/cli/program.ts';
import { Terminal } from '../../../src/cli/terminal.ts';

const MAIN = new URL('../../../src/main.ts', import.meta.url).pathname;

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  /** Stands for the first SIGINT or SIGTERM. */
  readonly interrupted?: AbortSignal;
  /** Told of each line on standard error. */
  readonly onSaid?: (line: string) => void;
}

/**
 * Runs the command line to its end as a function in this process, which costs milliseconds.
 * The Kubernetes client reads KUBECONFIG of this process, whatever `env` says.
 */
export async function sallyport(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const [stdout, stderr] = [collector(), collector(options.onSaid)];
  const terminal = new Terminal({
    stdin: Readable.from([options.input ?? '']),
    stdout: stdout.stream,
    stderr: stderr.stream,
    env: { ...process.env, NO_COLOR: '1', ...options.env },
    interrupted: () => options.interrupted ?? new AbortController().signal,
  });
  const code = await runProgram(terminal, args);
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

function collector(onSaid: (line: string) => void = () => {}) {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      onSaid(chunk.toString());
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString() };
}

/**
 * Runs the command line in a process of its own: for what only a process shows, its exit code, its pipes and
 * its working directory. It costs a second of CPU.
 */
export async function sallyportProcess(
  args: readonly string[],
  options: RunOptions & { readonly cwd?: string; readonly command?: readonly string[] } = {},
): Promise<Finished> {
  const child = start(args, options);
  let [stdout, stderr] = ['', ''];
  child.stdout!.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr!.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdin!.end(options.input ?? '');
  const [code] = (await once(child, 'close')) as [number];
  return { code, stdout, stderr };
}

export interface GatewayProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly ready: Readonly<Record<'https' | 'websocket' | 'admin' | 'caSha256', string>> & {
    readonly quic?: string;
  };
  /** Everything on standard error so far. */
  log(): string;
}

/** A gateway in a process of its own, ready when the promise resolves. */
export async function startGatewayProcess(
  folder: string,
  settings: Readonly<Record<string, string>> = {},
  env: NodeJS.ProcessEnv = {},
): Promise<GatewayProcess> {
  return launchGateway(folder, settings, env).whenReady;
}

/** A gateway process that may never get ready. */
export interface LaunchedGateway extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Rejects when the process ends before. */
  readonly whenReady: Promise<GatewayProcess>;
  log(): string;
}

/** @param command what Node is started with: flags and the program */
export function launchGateway(
  folder: string,
  settings: Readonly<Record<string, string>> = {},
  env: NodeJS.ProcessEnv = {},
  command: readonly string[] = [MAIN],
): LaunchedGateway {
  const all: Record<string, string> = {
    'https.port': '0',
    'websocket.port': '0',
    'quic.enabled': 'false',
    'admin.port': '0',
    'https.host': '127.0.0.1',
    'websocket.host': '127.0.0.1',
    'secretStore.path': folder,
    ...settings,
  };
  const child = start(
    [
      'serve',
      '--print-ready',
      ...Object.entries(all).flatMap(([path, value]) => ['--set', `${path}=${value}`]),
    ],
    { env, command },
  );
  let log = '';
  child.stderr!.on('data', (chunk) => {
    log += chunk;
  });
  const lines = createInterface({ input: child.stdout! });
  const failed = once(child, 'exit').then(([code]) =>
    Promise.reject(new Error(`the gateway ended with ${code}: ${log.slice(-2000)}`)),
  );
  const dispose = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  };
  const common = { child, log: () => log, [Symbol.asyncDispose]: dispose };
  const whenReady = Promise.race([once(lines, 'line'), failed]).then(([line]) => ({
    ...common,
    ready: JSON.parse(line as string) as GatewayProcess['ready'],
  }));
  whenReady.catch(() => {});
  return { ...common, whenReady };
}

function start(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; command?: readonly string[] } = {},
): ChildProcess {
  return spawn(process.execPath, [...(options.command ?? [MAIN]), ...args], {
    ...(options.cwd ? { cwd: options.cwd } : {}),
    env: { ...process.env, NO_COLOR: '1', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}
