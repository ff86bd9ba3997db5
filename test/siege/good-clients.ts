import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSeconds, percentile } from '../../bench/lib/process-usage.ts';
import { EdgeCoreSocket, goGet } from '../support/edges/edgecore.ts';
import { Fleet } from '../support/fleets/fleet.ts';
import { mintEdge } from '../support/pki/pki.ts';
import type { BesiegedGateway } from './besieged-gateway.ts';

/** What good clients noticed of one attack. Times in milliseconds; everything else should be 0. */
export interface Noticed {
  /** `/livez` and `/readyz`, each over a connection of its own. */
  readonly probeP50: number;
  readonly probeP99: number;
  /** A node that connects anew: mutual TLS and the upgrade. */
  readonly connectP50: number;
  readonly connectP99: number;
  /** An edge's message until its acknowledgement. */
  readonly messageP50: number;
  readonly messageP99: number;
  /** The most processor time between a message and its answer: the delay on a quiet machine. */
  readonly messageCpu: number;
  /** Probes without an answer, or `/livez` that is not 200. */
  readonly unanswered: number;
  /** Nodes that could not connect. */
  readonly turnedAway: number;
  /** Acknowledged messages that did not arrive, or arrived twice, and messages that were not acknowledged. */
  readonly lost: number;
  /** Sessions that ended. */
  readonly ended: number;
}

/** Long enough for any machine, and shorter than for ever. */
const PROBE_MS = 30_000;
const EDGES = 8;
const QUIC_EDGES = 2;

/**
 * What a gateway is there for: edges of the SDK with numbered traffic both ways, an EdgeCore that says
 * something all the time, nodes that come, and a prober.
 */
export class GoodClients implements AsyncDisposable {
  readonly #gateway: BesiegedGateway;
  readonly #fleet: Fleet;
  readonly #steady: EdgeCoreSocket;
  readonly #newcomer: { readonly ca: string; readonly cert: string; readonly key: string };
  #steadyEnded = 0;

  private constructor(
    gateway: BesiegedGateway,
    parts: { fleet: Fleet; steady: EdgeCoreSocket; newcomer: { ca: string; cert: string; key: string } },
  ) {
    this.#gateway = gateway;
    this.#fleet = parts.fleet;
    this.#steady = parts.steady;
    this.#newcomer = parts.newcomer;
    this.#steady.socket.on('close', () => this.#steadyEnded++);
  }

  static async start(gateway: BesiegedGateway): Promise<GoodClients> {
    const fleet = new Fleet(gateway);
    await fleet.join(EDGES - QUIC_EDGES);
    await fleet.join(QUIC_EDGES, 'quic');
    const mint = async (node: string) => {
      const { pem: cert, key } = await mintEdge(gateway.ca, node);
      return { ca: gateway.ca.pem, cert, key };
    };
    const steady = await EdgeCoreSocket.open(gateway.port('websocket'), 'steady', await mint('steady'));
    return new GoodClients(gateway, { fleet, steady, newcomer: await mint('newcomer') });
  }

  /** Does what good clients do until `deed` is over, and tells what they noticed. */
  async during(deed: () => Promise<string>): Promise<Noticed & { readonly saw: string }> {
    const before = await this.#fleet.report();
    const endedBefore = before.dropped + before.rebalanced + this.#steadyEnded;
    const over = new AbortController();
    const [probes, connects, messages, cpu]: number[][] = [[], [], [], []];
    const count = { unanswered: 0, turnedAway: 0, unacknowledged: 0 };
    const timed = async (into: number[], act: () => Promise<unknown>, onFailure: () => void) => {
      const start = performance.now();
      await act().catch(onFailure);
      into.push(performance.now() - start);
    };
    const repeat = async (pauseMs: number, act: (round: number) => Promise<void>) => {
      for (let round = 0; !over.signal.aborted; round++) {
        await act(round);
        await sleep(pauseMs);
      }
    };
    const work = Promise.all([
      repeat(50, (round) =>
        timed(
          probes!,
          () => this.#probe(round % 2 === 0 ? '/livez' : '/readyz'),
          () => count.unanswered++,
        ),
      ),
      repeat(100, () =>
        timed(
          connects!,
          () => this.#connect(),
          () => count.turnedAway++,
        ),
      ),
      repeat(10, async () => {
        const start = cpuSeconds(this.#gateway.pid);
        await timed(
          messages!,
          () => this.#say(),
          () => count.unacknowledged++,
        );
        cpu!.push(1_000 * (cpuSeconds(this.#gateway.pid) - start));
      }),
      repeat(100, (round) => this.#fleet.exchange(4, round).catch(() => void count.unacknowledged++)),
    ]);
    let saw: string;
    try {
      saw = await deed();
    } finally {
      over.abort();
      await work.catch(() => {});
    }
    const after = await this.#fleet.report();
    const ms = (values: readonly number[] | undefined, part: number) => Math.round(percentile(values!, part));
    return {
      probeP50: ms(probes, 0.5),
      probeP99: ms(probes, 0.99),
      connectP50: ms(connects, 0.5),
      connectP99: ms(connects, 0.99),
      messageP50: ms(messages, 0.5),
      messageP99: ms(messages, 0.99),
      messageCpu: Math.round(Math.max(...cpu!)),
      unanswered: count.unanswered,
      turnedAway: count.turnedAway,
      lost:
        count.unacknowledged +
        (after.lostUp + after.lostDown + after.doubledDown) -
        (before.lostUp + before.lostDown + before.doubledDown),
      ended: after.dropped + after.rebalanced + this.#steadyEnded - endedBefore,
      saw,
    };
  }

  async #probe(path: '/livez' | '/readyz'): Promise<void> {
    const late = once(AbortSignal.timeout(PROBE_MS), 'abort').then(() => Promise.reject(new Error('late')));
    late.catch(() => {});
    const { status } = await Promise.race([goGet(this.#gateway.port('https'), path), late]);
    // A gateway may be alive and not ready: what counts for the second is the answer.
    if (path === '/livez' && status !== 200) throw new Error(`it answered ${status}`);
    if (!(status >= 200)) throw new Error('no answer');
  }

  async #connect(): Promise<void> {
    const { socket } = await EdgeCoreSocket.open(this.#gateway.port('websocket'), 'newcomer', this.#newcomer);
    const closed = once(socket, 'close');
    socket.close(1000);
    await closed;
  }

  async #say(): Promise<void> {
    const { received, socket } = this.#steady;
    const route = {
      source: 'edged',
      group: 'resource',
      operation: 'update',
      resource: 'default/node/steady',
    };
    const id = this.#steady.send(route, 1, undefined, { sync: true });
    const ended = new AbortController();
    const failed = once(socket, 'close', { signal: ended.signal }).then(() =>
      Promise.reject(new Error('the session has ended')),
    );
    failed.catch(() => {});
    try {
      while (!received.some(({ header }) => header.parent_msg_id === id))
        await Promise.race([once(socket, 'message', { signal: ended.signal }), failed]);
      received.length = 0;
    } finally {
      ended.abort();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#steady.socket.terminate();
    await this.#fleet[Symbol.asyncDispose]();
  }
}
