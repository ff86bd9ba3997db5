import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdminClient } from '../../src/cli/admin/admin-client.ts';
import type { FleetHub } from '../support/fleets/fleet.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/fleets/process.ts';
import { readCa } from '../support/fleets/secret-files.ts';
import type { Pair } from '../support/pki/pki.ts';

/** Of the heap, as the image sets it. */
const HEAP_MB = 512;
/** Far fewer than `limits.connections`, so that the attacks reach the end of them. */
const OPEN_FILES = 4_096;

export type PortName = 'https' | 'websocket' | 'quic' | 'admin';

/** One gateway in a process of its own, with little memory, few descriptors and a clock that can be set. */
export class BesiegedGateway implements AsyncDisposable, FleetHub {
  readonly folder: string;
  readonly admin: AdminClient;
  readonly ca: Pair;
  readonly process: GatewayProcess;
  readonly #base: string;
  #edges = 0;

  private constructor(base: string, process: GatewayProcess) {
    this.#base = base;
    this.folder = join(base, 'secrets');
    this.process = process;
    this.ca = readCa(this.folder);
    const file = (name: string) => join(this.folder, name);
    const [cert, key, ca] = [file('admin.crt'), file('admin.key'), file('ca.crt')];
    this.admin = new AdminClient({ address: process.ready.admin, cert, key, ca });
  }

  static async start(base = mkdtempSync(join(tmpdir(), 'sallyport-siege-'))): Promise<BesiegedGateway> {
    const clock = join(base, 'clock');
    writeFileSync(clock, '0');
    const settings = {
      'quic.enabled': 'true',
      'quic.port': '0',
      'quic.host': '127.0.0.1',
      'limits.drainMs': '0',
    };
    const gateway = await startGatewayProcess(join(base, 'secrets'), settings, {
      NODE_OPTIONS: `--max-old-space-size=${HEAP_MB} --import=${new URL('./preload.ts', import.meta.url)}`,
      SIEGE_CLOCK: clock,
      SIEGE_OPEN_FILES: String(OPEN_FILES),
    });
    return new BesiegedGateway(base, gateway);
  }

  get pid(): number {
    return this.process.child.pid!;
  }

  get isAlive(): boolean {
    const { exitCode, signalCode } = this.process.child;
    return exitCode === null && signalCode === null;
  }

  port(name: PortName): number {
    return Number((this.process.ready as Record<string, string>)[name]!.split(':').at(-1));
  }

  /** Sets its wall clock so far from that of the system. */
  setClock(shiftMs: number): void {
    writeFileSync(join(this.#base, 'clock'), String(shiftMs));
  }

  /** No file of it may grow from now on: what a full disk does (prlimit(1) of util-linux). */
  setDiskFull(isFull: boolean): void {
    execFileSync('prlimit', ['--pid', String(this.pid), `--fsize=${isFull ? 0 : 'unlimited'}:`]);
  }

  readonly edgeOptions: FleetHub['edgeOptions'] = (node, more) => ({
    node,
    directory: join(this.#base, `edge-${node}-${this.#edges++}`),
    transport: 'websocket',
    hub: {
      https: `localhost:${this.port('https')}`,
      websocket: `localhost:${this.port('websocket')}`,
      quic: `127.0.0.1:${this.port('quic')}`,
    },
    ...more,
  });

  readonly nodeToken: FleetHub['nodeToken'] = async (node) =>
    (await this.admin.post<{ token: string }>('/api/v1/tokens', { node })).token;

  /** `kill -9`. Its folder stays. */
  async kill(): Promise<void> {
    const exited = once(this.process.child, 'exit');
    this.process.child.kill('SIGKILL');
    await exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isAlive) await this.kill();
    rmSync(this.#base, { recursive: true, force: true });
  }
}
