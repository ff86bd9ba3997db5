import type { TransportName } from '../../../src/protocol/listener-names.ts';
import { EdgeClient } from '../../../src/sdk/edge-client.ts';
import type { TestGateway } from './test-gateway.ts';

/** What a fleet saw: every figure but the first two should be zero. */
export interface FleetReport {
  readonly sentUp: number;
  readonly sentDown: number;
  readonly dropped: number;
  /** Connections the hub asked to come again, which loses nothing: QUIC beyond its bound of generations. */
  readonly rebalanced: number;
  readonly lostUp: number;
  readonly lostDown: number;
  readonly doubledDown: number;
}

/** What edges and a cloud program need of a gateway, in this process or in another. */
export type FleetHub = Pick<TestGateway, 'admin' | 'edgeOptions' | 'nodeToken'>;

/**
 * Edges with numbered traffic both ways. Up: each edge's messages are counted at the cloud, over the admin
 * API's event stream; down: each edge counts what it got. "Lost" is what was acknowledged to its sender and
 * never seen at the other end.
 */
export class Fleet implements AsyncDisposable {
  readonly #hub: FleetHub;
  readonly #edges: { readonly node: string; readonly client: EdgeClient; readonly got: number[] }[] = [];
  readonly #seenUp = new Set<string>();
  readonly #following = new AbortController();
  #followed: Promise<void> = Promise.resolve();
  #dropped = 0;
  #rebalanced = 0;
  #acknowledgedUp: string[] = [];
  #acknowledgedDown = new Map<string, number[]>();
  #next = 0;

  constructor(hub: FleetHub) {
    this.#hub = hub;
  }

  get size(): number {
    return this.#edges.length;
  }

  async join(count: number, transport: TransportName = 'websocket'): Promise<void> {
    if (this.#edges.length === 0) this.#followed = this.#follow();
    for (let index = 0; index < count; index++) {
      const node = `edge-${this.#edges.length}`;
      const options = { ...this.#hub.edgeOptions(node), transport };
      const client = await EdgeClient.join({ ...options, token: await this.#hub.nodeToken(node) });
      const got: number[] = [];
      client.on('message', ({ content }) => void got.push((content as { n: number }).n));
      await client.connect();
      client.on('disconnected', ({ reason }) => {
        if (reason?.name === 'Rebalance') this.#rebalanced++;
        else this.#dropped++;
      });
      this.#edges.push({ node, client, got });
    }
  }

  /** One message each way for every `step`-th edge; resolves when all are acknowledged. */
  async exchange(step = 1, offset = 0): Promise<void> {
    const chosen = this.#edges.filter((_, index) => index % step === offset % step);
    await Promise.all(
      chosen.map(async ({ node, client }) => {
        const n = this.#next++;
        await client.send({ resource: `app/count/${n}`, operation: 'update', content: { n } });
        this.#acknowledgedUp.push(`${node}/${n}`);
        const { kind } = await this.#hub.admin.post<{ kind: string }>(`/api/v1/nodes/${node}/messages`, {
          resource: `app/count/${n}`,
          operation: 'update',
          content: { n },
          wait: 'ack',
        });
        if (kind !== 'acknowledged') throw new Error(`${node} did not acknowledge: ${kind}`);
        this.#acknowledgedDown.set(node, [...(this.#acknowledgedDown.get(node) ?? []), n]);
      }),
    );
  }

  async report(): Promise<FleetReport> {
    const end = Date.now() + 5_000;
    while (Date.now() < end && this.#acknowledgedUp.some((key) => !this.#seenUp.has(key)))
      await new Promise((resolve) => setTimeout(resolve, 20));
    const down = this.#edges.map(({ node, got }) => ({ sent: this.#acknowledgedDown.get(node) ?? [], got }));
    return {
      sentUp: this.#acknowledgedUp.length,
      sentDown: down.reduce((sum, { sent }) => sum + sent.length, 0),
      dropped: this.#dropped,
      rebalanced: this.#rebalanced,
      lostUp: this.#acknowledgedUp.filter((key) => !this.#seenUp.has(key)).length,
      lostDown: down.reduce((sum, { sent, got }) => sum + sent.filter((n) => !got.includes(n)).length, 0),
      doubledDown: down.reduce((sum, { got }) => sum + got.length - new Set(got).size, 0),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#edges.map(({ client }) => client.close()));
    this.#following.abort();
    await this.#followed;
  }

  async #follow(): Promise<void> {
    for await (const { data } of this.#hub.admin.events(
      // What others say is not ours to follow, and may be large.
      '/api/v1/events?type=message&resourcePrefix=node/edge-',
      { signal: this.#following.signal },
    )) {
      const { node, message } = data as { node: string; message: { content: { n?: number } } };
      if (message.content?.n !== undefined) this.#seenUp.add(`${node}/${message.content.n}`);
    }
  }
}
