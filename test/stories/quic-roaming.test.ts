import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import type { EdgeClientOptions } from '../../src/sdk/edge-client-options.ts';
import { UdpRelay } from '../support/edges/udp-relay.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';

interface NodeRow {
  readonly sessionId: string;
  readonly transport: string;
  readonly rttMs?: number;
}

/** One edge with numbered traffic both ways, counted at the other end, however often a message comes. */
class Roamer implements AsyncDisposable {
  readonly client: EdgeClient;
  readonly transports: string[] = [];
  dropped = 0;
  readonly #hub: TestGateway;
  readonly #following = new AbortController();
  readonly #followed: Promise<void>;
  readonly #cloudGot: number[] = [];
  readonly #edgeGot: number[] = [];
  #acknowledged: Promise<void>[] = [];
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(hub: TestGateway, client: EdgeClient) {
    this.#hub = hub;
    this.client = client;
    client.on('message', ({ content }) => void this.#edgeGot.push((content as { n: number }).n));
    client.on('connected', ({ transport }) => void this.transports.push(transport));
    client.on('disconnected', () => void this.dropped++);
    this.#followed = this.#follow();
  }

  static async join(hub: TestGateway, quicPort: number, more: Partial<EdgeClientOptions>): Promise<Roamer> {
    const options = hub.edgeOptions('edge-1', { heartbeatMs: 3_000, ...more });
    const client = await EdgeClient.join({
      ...options,
      hub: { ...options.hub, quic: `127.0.0.1:${quicPort}` },
      token: await hub.nodeToken('edge-1'),
    });
    const roamer = new Roamer(hub, client);
    await client.connect();
    return roamer;
  }

  /** One message each way every few milliseconds, until {@link settle}. */
  start(): void {
    this.#timer = setInterval(() => {
      const n = this.#count++;
      const message = { resource: `app/count/${n}`, operation: 'update', content: { n } };
      this.#acknowledged.push(
        this.client.send(message),
        this.#hub.admin.post('/api/v1/nodes/edge-1/messages', { ...message, wait: 'queued' }),
      );
    }, 20);
  }

  /** Waits until so many more are on their way. */
  async flow(messages: number): Promise<void> {
    const end = this.#count + messages;
    await eventually(`${messages} more are sent`, () => this.#count >= end);
  }

  /** Stops the traffic, waits until every message is acknowledged and through, and says what the ends saw. */
  async settle() {
    clearInterval(this.#timer);
    await Promise.all(this.#acknowledged);
    const isThrough = () => [this.#cloudGot, this.#edgeGot].every((got) => new Set(got).size === this.#count);
    await eventually('everything is through', isThrough);
    const doubled = (got: number[]) => got.length - new Set(got).size;
    return { doubledUp: doubled(this.#cloudGot), doubledDown: doubled(this.#edgeGot) };
  }

  async seen(): Promise<NodeRow | undefined> {
    const { items } = await this.#hub.admin.get<{ items: NodeRow[] }>('/api/v1/nodes');
    return items[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.client.close();
    this.#following.abort();
    await this.#followed;
  }

  async #follow(): Promise<void> {
    const path = '/api/v1/events?type=message&resourcePrefix=node/';
    for await (const { data } of this.#hub.admin.events(path, { signal: this.#following.signal })) {
      const { message } = data as { message: { content: { n?: number } } };
      if (message.content?.n !== undefined) this.#cloudGot.push(message.content.n);
    }
  }
}

const quic = { settings: { 'quic.enabled': 'true' } };

test('J2: an edge whose address changes under traffic keeps its very session; nothing is lost, nothing doubled', async () => {
  await using hub = await startTestGateway(quic);
  await using relay = await UdpRelay.start({ targetPort: hub.port('quic') });
  await using edge = await Roamer.join(hub, relay.port, { transport: 'quic', heartbeatMs: 5_000 });
  const before = await edge.seen();
  edge.start();
  for (let move = 0; move < 3; move++) {
    await edge.flow(10);
    await relay.rebind();
  }
  await edge.flow(10);
  expect(await edge.settle()).toEqual({ doubledUp: 0, doubledDown: 0 });
  expect(edge.dropped).toBe(0);
  expect(await edge.seen()).toMatchObject({
    sessionId: before!.sessionId,
    transport: 'quic',
    rttMs: expect.any(Number),
  });
});

test('J2: an edge whose network dies under traffic comes back from elsewhere; nothing is lost, nothing doubled', async () => {
  await using hub = await startTestGateway(quic);
  const relay = await UdpRelay.start({ targetPort: hub.port('quic') });
  await using edge = await Roamer.join(hub, relay.port, { transport: 'quic' });
  const before = await edge.seen();
  edge.start();
  await edge.flow(10);
  const { port } = relay;
  // The hub takes messages whose acknowledgements never arrive, so that they are sent again.
  relay.isMute = true;
  await edge.flow(4);
  await relay[Symbol.asyncDispose]();
  await eventually('the edge has noticed', () => edge.dropped === 1);
  await using elsewhere = await UdpRelay.start({ targetPort: hub.port('quic'), port });
  await eventually('the edge is back', () => edge.transports.length === 2);
  expect(await edge.settle()).toEqual({ doubledUp: 0, doubledDown: 0 });
  expect(elsewhere.toServer.datagrams).toBeGreaterThan(0);
  const after = await edge.seen();
  expect(after!.transport).toBe('quic');
  expect(after!.sessionId).not.toBe(before!.sessionId);
});

test('K2: auto uses QUIC, goes on over WebSocket where UDP dies, and both ends say which; nothing is lost, nothing doubled', async () => {
  await using hub = await startTestGateway(quic);
  const relay = await UdpRelay.start({ targetPort: hub.port('quic') });
  await using edge = await Roamer.join(hub, relay.port, { transport: 'auto' });
  await eventually('QUIC is seen to work', () => edge.transports.length === 2);
  expect(edge.transports).toEqual(['websocket', 'quic']);
  expect((await edge.seen())!.transport).toBe('quic');
  edge.start();
  await edge.flow(10);
  // The edge takes messages whose acknowledgements never arrive, so that they are sent again.
  relay.isDeaf = true;
  await edge.flow(4);
  await relay[Symbol.asyncDispose]();
  await eventually('the edge is back', () => edge.transports.length === 3);
  expect(edge.transports).toEqual(['websocket', 'quic', 'websocket']);
  expect((await edge.seen())!.transport).toBe('websocket');
  expect(await edge.settle()).toEqual({ doubledUp: 0, doubledDown: 0 });
});
