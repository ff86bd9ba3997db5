/**
 * Edges in a process of their own: EdgeClients of the SDK that send numbered messages and note the numbers
 * they get. Started with `fork`; the first message of the channel is the {@link DriverTask}, later ones are
 * {@link DriverCommand}s.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createMessage } from '../../src/protocol/message.ts';
import { CredentialStore } from '../../src/sdk/credential-store.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import type { HubAddresses } from '../../src/sdk/edge-client-options.ts';

export interface DriverTask {
  readonly hub: HubAddresses;
  /** Where the clients keep their credentials. */
  readonly folder: string;
  readonly edges: readonly DriverEdge[];
  /** Numbered messages that each edge sends. */
  readonly messagesEach: number;
  readonly periodMs: number;
}

export interface DriverEdge {
  readonly node: string;
  readonly transport: 'websocket' | 'quic';
  readonly certificate: string;
  readonly key: string;
  readonly ca: string;
}

export type DriverCommand = 'send' | 'report' | 'stop';

export type DriverAnswer =
  | { readonly type: 'connected' }
  | { readonly type: 'sent' }
  | { readonly type: 'report'; readonly edges: readonly EdgeReport[] };

export interface EdgeReport {
  readonly node: string;
  /** Numbers the hub acknowledged to this edge. */
  readonly acknowledged: readonly number[];
  /** Numbers its program was given, in order, repetitions included. */
  readonly received: readonly number[];
  readonly connects: number;
  /** Attempts the hub answered with an error; the same message was then sent again. */
  readonly refused: number;
}

class ChaosEdge {
  readonly #client: EdgeClient;
  readonly #task: DriverTask;
  readonly #acknowledged: number[] = [];
  readonly #received: number[] = [];
  #connects = 0;
  #refused = 0;

  constructor(task: DriverTask, { node, transport, certificate, key, ca }: DriverEdge) {
    this.#task = task;
    const directory = `${task.folder}/${node}`;
    this.#client = new EdgeClient(
      { credentials: { node, certificate, key, ca }, store: new CredentialStore(directory) },
      {
        hub: task.hub,
        node,
        directory,
        transport,
        reconnect: { minMs: 200, maxMs: 3_000 },
        heartbeatMs: 5_000,
        ackTimeoutMs: 10_000,
      },
    );
    this.#client.on('connected', () => {
      this.#connects++;
    });
    this.#client.on('message', ({ content }) => {
      this.#received.push((content as { n: number }).n);
    });
  }

  connect(): Promise<void> {
    return this.#client.connect();
  }

  /** Sends its numbers, one a period whether or not the last is acknowledged; resolves when all are. */
  async sendAll(): Promise<void> {
    const { messagesEach, periodMs } = this.#task;
    await sleep(Math.random() * periodMs);
    const pending: Promise<void>[] = [];
    for (let n = 0; n < messagesEach; n++) {
      pending.push(this.#send(n));
      await sleep(periodMs);
    }
    await Promise.all(pending);
  }

  /** The same message, under the same id, until the hub acknowledges it. */
  async #send(n: number): Promise<void> {
    const route = { source: 'edge', group: 'resource', operation: 'update', resource: `default/chaos/${n}` };
    const message = createMessage(route, { n }, { now: Date.now() });
    for (;;) {
      try {
        await this.#client.send(message);
        this.#acknowledged.push(n);
        return;
      } catch {
        this.#refused++;
        await sleep(500);
      }
    }
  }

  report(): EdgeReport {
    const [acknowledged, received] = [this.#acknowledged, this.#received];
    return {
      node: this.#client.node,
      acknowledged,
      received,
      connects: this.#connects,
      refused: this.#refused,
    };
  }
}

function answer(message: DriverAnswer): void {
  process.send!(message);
}

function run(task: DriverTask): void {
  const edges = task.edges.map((edge) => new ChaosEdge(task, edge));
  process.on('message', (command: DriverCommand) => {
    if (command === 'send')
      void Promise.all(edges.map((edge) => edge.sendAll())).then(() => answer({ type: 'sent' }));
    else if (command === 'report') answer({ type: 'report', edges: edges.map((edge) => edge.report()) });
    else process.exit(0);
  });
  void Promise.all(edges.map((edge) => edge.connect())).then(() => answer({ type: 'connected' }));
}

process.once('message', (task: DriverTask) => run(task));
process.once('disconnect', () => process.exit(0));
