import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, connect as dial } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Debian's nats-server. Tests that need it fail when it is missing: install the package `nats-server`. */
const BINARY = process.env.NATS_SERVER ?? 'nats-server';
/** A shared machine may be many times slower than an idle one, milliseconds. */
const START_LIMIT_MS = 60_000;

export interface NatsServerOptions {
  /** Lines of the server's configuration file, besides ports and store. */
  readonly config?: string;
  readonly jetstream?: boolean;
}

/**
 * A real nats-server on a free port of the loopback, which can be killed and started again on the same port
 * and store.
 */
export class NatsServer implements AsyncDisposable {
  readonly port: number;
  readonly folder: string;
  readonly #config: string;
  #child: ChildProcess | undefined;
  #log = '';

  constructor({ port, folder, config }: { port: number; folder: string; config: string }) {
    this.port = port;
    this.folder = folder;
    this.#config = config;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Process id while it runs, for SIGSTOP and SIGCONT. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  log(): string {
    return this.#log;
  }

  async start(): Promise<void> {
    if (this.#child) return;
    await writeFile(join(this.folder, 'server.conf'), this.#config);
    const child = spawn(BINARY, ['-c', join(this.folder, 'server.conf')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let failure: Error | undefined;
    child.once('error', (error) => {
      failure = new Error(`cannot start ${BINARY}: install nats-server (${error.message})`);
    });
    child.once('exit', (code, signal) => {
      failure ??= new Error(`nats-server ended (${code ?? signal}): ${this.#log.slice(-2000)}`);
      if (this.#child === child) this.#child = undefined;
    });
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (chunk) => {
        this.#log += chunk;
      });
    const deadline = Date.now() + START_LIMIT_MS;
    while (!(await answers(this.port))) {
      if (failure) throw failure;
      if (Date.now() > deadline) throw new Error(`nats-server does not answer: ${this.#log.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** SIGKILL by default: what a power cut is to it. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (!child) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  async restart(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.kill(signal);
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** One server, with JetStream unless told otherwise, ready when the promise resolves. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const [port] = await freePorts(1);
  const server = await createNatsServer(port!, options, 'single');
  await server.start();
  return server;
}

export interface NatsCluster extends AsyncDisposable {
  readonly servers: readonly NatsServer[];
  readonly urls: readonly string[];
}

/**
 * A cluster of three (or `size`) with JetStream. Ready when every server answers; a leader may take some
 * seconds more.
 */
export async function startNatsCluster(size = 3, options: NatsServerOptions = {}): Promise<NatsCluster> {
  const ports = await freePorts(size * 2);
  const routes = ports.slice(size).map((port) => `nats://127.0.0.1:${port}`);
  const servers = await Promise.all(
    ports.slice(0, size).map((port, index) =>
      createNatsServer(
        port,
        {
          ...options,
          config: `${options.config ?? ''}
cluster { name: test, listen: "127.0.0.1:${ports[size + index]}", routes: [${routes.map((url) => `"${url}"`).join(', ')}] }
`,
        },
        `n${index}`,
      ),
    ),
  );
  await Promise.all(servers.map((server) => server.start()));
  return {
    servers,
    urls: servers.map(({ url }) => url),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    },
  };
}

async function createNatsServer(
  port: number,
  { config = '', jetstream = true }: NatsServerOptions,
  name: string,
): Promise<NatsServer> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-nats-'));
  const lines = [
    `server_name: "${name}"`,
    `listen: "127.0.0.1:${port}"`,
    jetstream ? `jetstream { store_dir: "${folder}/store" }` : '',
    config,
  ];
  return new NatsServer({ port, folder, config: lines.join('\n') });
}

/** Ports that are free now. All are held until all are known, so that none comes twice. */
async function freePorts(count: number): Promise<number[]> {
  const held = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = held.map((server) => (server.address() as { port: number }).port);
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Whether the server greets: its first line is INFO. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dial(port, '127.0.0.1');
    const finish = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.once('data', (chunk) => finish(chunk.toString('latin1').startsWith('INFO')));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
  });
}
