/**
 * Edges over QUIC for benches, many in a process of their own: each has a thread and a socket, as if it were
 * alone.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { createMessage } from '../../src/protocol/message.ts';
import { QuicTransport } from '../../src/sdk/transports/quic-transport.ts';
import { TestEdge } from '../../test/support/edges/quic-rig.ts';
import { answer, type HubAddress, QUIET_MS } from './quic-hub.ts';

/** `connect` adds as many edges; `ping` goes so often to one edge after another; `bulk` all on one edge. */
export interface Order {
  readonly what: 'connect' | 'ping' | 'bulk' | 'close';
  readonly count: number;
}

/** Threads a process may have without trouble. */
const EDGES_A_PROCESS = 1_000;

/** Any number of edges of one hub, in as many processes as that takes. */
export class QuicEdges {
  readonly #hub: HubAddress;
  readonly #processes: ChildProcess[] = [];
  #count = 0;

  constructor({ port, ca, certificate, key }: HubAddress) {
    this.#hub = { port, ca, certificate, key };
  }

  async connect(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      if (this.#count % EDGES_A_PROCESS === 0)
        this.#processes.push(fork(import.meta.filename, [JSON.stringify(this.#hub)]));
      const some = Math.min(left, EDGES_A_PROCESS - (this.#count % EDGES_A_PROCESS));
      await this.#order({ what: 'connect', count: some }, this.#processes.at(-1)!);
      this.#count += some;
      left -= some;
    }
  }

  /** @param count in all, spread over the edges */
  async ping(count: number): Promise<void> {
    const each = Math.ceil(count / this.#processes.length);
    for (const child of this.#processes) await this.#order({ what: 'ping', count: each }, child);
  }

  bulk(count: number): Promise<void> {
    return this.#order({ what: 'bulk', count }, this.#processes[0]!);
  }

  stop(): void {
    for (const child of this.#processes) child.kill();
  }

  async #order(order: Order, child: ChildProcess): Promise<void> {
    child.send(order);
    const error = await answer<string | undefined>(child);
    if (error) throw new Error(error);
  }
}

const edges: TestEdge[] = [];

async function obey({ port, ca, certificate, key }: HubAddress, { what, count }: Order): Promise<void> {
  const transport = new QuicTransport(
    { clock: systemClock, logger: silentLogger },
    { address: `127.0.0.1:${port}`, pingIntervalMs: QUIET_MS },
  );
  const make = (operation: string) =>
    createMessage(
      { source: 'edged', group: 'resource', operation, resource: 'default/pod/x' },
      'x'.repeat(200),
      { now: Date.now() },
    );
  for (let i = 0; i < count; i++) {
    const edge = edges[i % edges.length]!;
    if (what === 'connect') {
      const link = await transport.connect(
        { node: 'edge-1', ca, certificate, key },
        {
          projectId: 'p',
          agent: 'bench/1',
          maxMessageBytes: 16 * 1024 * 1024,
          connectTimeoutMs: 20_000,
          writeTimeoutMs: 60_000,
          signal: new AbortController().signal,
        },
      );
      edges.push(new TestEdge(link));
    } else if (what === 'ping') {
      const message = make('echo');
      await edge.link.send(message);
      await edge.reply(message.header.msg_id);
      edge.messages.length = 0;
    } else if (what === 'bulk') {
      const sent = edges[0]!.link.send(make('update'));
      if (i % 100 === 0) await sent;
    } else edges.pop()?.link.close(closeReason('Normal'));
  }
}

if (import.meta.filename === process.argv[1]) {
  const hub = JSON.parse(process.argv[2]!) as HubAddress;
  process.on('message', (order: Order) => {
    obey(hub, order).then(
      () => process.send!(''),
      (error: unknown) => process.send!(String(error)),
    );
  });
}
