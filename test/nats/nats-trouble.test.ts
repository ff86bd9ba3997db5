import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import type { HeardEvent } from '../../src/contracts/message-bus.ts';
import { itemFor, metric, objectMessage } from '../support/edges/messages.ts';
import { TcpRelay } from '../support/edges/tcp-relay.ts';
import { eventually, eventuallyHolds } from '../support/eventually.ts';
import { startNatsCluster, startNatsServer } from '../support/fleets/nats-server.ts';
import { createNatsBus, numbered, startNatsBus, TakingConsumer, upstream } from './rig.ts';

const healthy = (rig: { bus: { problem(): string | undefined } }) =>
  eventuallyHolds(() => expect(rig.bus.problem()).toBeUndefined());
const contentsOf = (events: readonly HeardEvent[]) =>
  events.map(({ event }) => (event.type === 'message' ? event.message.content : event.type));

test('NATS down at the start: the bus starts, says what is missing, and is whole once NATS comes', async () => {
  await using server = await startNatsServer();
  await server.kill();
  await using rig = createNatsBus({ servers: [server.url], holdMs: 200 });
  await rig.connection.start();
  await rig.bus.start(new AbortController().signal);
  expect(rig.bus.problem()).toMatch(/^nats: /);
  const edge = new TakingConsumer();
  rig.bus.attach('edge-1', edge);
  const seen: HeardEvent[] = [];
  rig.bus.subscribe({}, (event) => seen.push(event));
  await expect(rig.bus.publish(upstream('edge-1', 'lost'))).rejects.toMatchObject({
    code: 'BUS_UNAVAILABLE',
  });
  await expect(rig.bus.enqueue(itemFor('edge-1', objectMessage('a', 1)))).rejects.toMatchObject({
    code: 'BUS_UNAVAILABLE',
  });
  await server.start();
  await healthy(rig);
  await rig.bus.publish(upstream('edge-1', 'taken'));
  const { outcome } = await rig.bus.enqueue(itemFor('edge-1', objectMessage('a', 2)));
  expect(await outcome).toEqual({ kind: 'acknowledged' });
  await eventually('seen.length === 1', () => seen.length === 1);
  expect(contentsOf(seen)).toEqual(['taken']);
});

test('H1: NATS killed and restarted: what it took is there, what waits for it is sent again, nothing is stored twice', async () => {
  await using server = await startNatsServer();
  await using rig = await startNatsBus({ servers: [server.url], holdMs: 60_000 });
  const seen: HeardEvent[] = [];
  rig.bus.subscribe({}, (event) => seen.push(event));
  const holding = new TakingConsumer({ answer: () => new Promise(() => {}) });
  const detach = rig.bus.attach('here', holding);
  for (const n of numbered(20)) {
    await rig.bus.publish(upstream('edge-1', n));
    await rig.bus.enqueue(itemFor('here', objectMessage(`o${n}`, 1)));
    await rig.bus.enqueue(itemFor('away', objectMessage(`o${n}`, 1)));
  }
  await eventually('holding.contents.length === 20', () => holding.contents.length === 20);
  await server.kill();
  await eventuallyHolds(() => expect(rig.bus.problem()).toBeDefined());
  const waiting = numbered(20).map((n) => rig.bus.publish(upstream('edge-1', n + 20)));
  await server.start();
  await Promise.all(waiting);
  await healthy(rig);
  await eventually('seen.length >= 40', () => seen.length >= 40);
  expect(contentsOf(seen)).toEqual(numbered(40));
  detach();
  const objects = numbered(20).map((n) => `o${n}@1`);
  for (const node of ['here', 'away']) {
    const edge = new TakingConsumer();
    rig.bus.attach(node, edge);
    await eventually('edge.contents.length >= 20', () => edge.contents.length >= 20);
    expect(edge.contents).toEqual(objects);
  }
  expect(await metric(rig.metrics, 'bus_reconnects_total')).toBe(1);
});

test('what the stream took while this replica was cut off reaches its nodes after it returns', async () => {
  await using server = await startNatsServer();
  await using relay = await TcpRelay.to(server.port);
  await using rig = await startNatsBus({ servers: [`nats://127.0.0.1:${relay.port}`], prefix: 'cut' });
  await using other = await startNatsBus({ servers: [server.url], prefix: 'cut' });
  const edge = new TakingConsumer();
  rig.bus.attach('edge-1', edge);
  await (await other.bus.enqueue(itemFor('edge-1', objectMessage('before', 1)))).outcome;
  relay.cut();
  await eventuallyHolds(() => expect(rig.bus.problem()).toBeDefined());
  const { outcome } = await other.bus.enqueue(itemFor('edge-1', objectMessage('meanwhile', 1)));
  relay.mend();
  await healthy(rig);
  expect(await outcome).toEqual({ kind: 'acknowledged' });
  expect(edge.contents).toEqual(['before@1', 'meanwhile@1']);
});

test('NATS stands still: what it confirmed nothing of is bounded and counted, more is refused, and all is taken when it goes on', async () => {
  await using server = await startNatsServer();
  await using rig = await startNatsBus({
    servers: [server.url],
    holdMs: 90_000,
    requestTimeoutMs: 300,
    limits: { inFlightMessages: 50 },
  });
  process.kill(server.pid!, 'SIGSTOP');
  const held = numbered(50).map((n) => rig.bus.publish(upstream('edge-1', n)));
  await expect(rig.bus.publish(upstream('edge-1', 50))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  await eventuallyHolds(() => expect(rig.bus.problem()).toMatch(/confirms no messages|not answer|lost/));
  expect(await metric(rig.metrics, 'bus_in_flight_messages')).toBe(50);
  process.kill(server.pid!, 'SIGCONT');
  await Promise.all(held);
  await healthy(rig);
  const seen: HeardEvent[] = [];
  rig.bus.subscribe({}, (event) => seen.push(event), { afterId: '0' });
  await eventually('seen.length >= 50', () => seen.length >= 50);
  expect(contentsOf(seen).sort((a, b) => Number(a) - Number(b))).toEqual(numbered(50));
  expect(await metric(rig.metrics, 'bus_publish_failed_total', { reason: 'in-flight' })).toBe(1);
});

test('streams that were deleted, or lost with their store, are made anew without a hand', async () => {
  await using server = await startNatsServer();
  await using rig = await startNatsBus({
    servers: [server.url],
    prefix: 'gone',
    holdMs: 60_000,
    requestTimeoutMs: 500,
  });
  const seen: HeardEvent[] = [];
  rig.bus.subscribe({}, (event) => seen.push(event));
  const edge = new TakingConsumer();
  rig.bus.attach('edge-1', edge);
  for (const n of numbered(3)) await rig.bus.publish(upstream('edge-1', n));
  for (const n of numbered(3)) await rig.bus.enqueue(itemFor('edge-1', objectMessage(`o${n}`, 1)));
  await eventually(
    'seen.length === 3 && edge.contents.length === 3',
    () => seen.length === 3 && edge.contents.length === 3,
  );
  const operator = await connect({ servers: server.url });
  const { streams } = await jetstreamManager(operator);
  for (const stream of ['gone-up', 'gone-down']) await streams.delete(stream);
  await rig.bus.publish(upstream('edge-1', 3));
  await eventuallyHolds(() => expect(streams.info('gone-down')).resolves.toBeDefined());
  const { outcome } = await rig.bus.enqueue(itemFor('edge-1', objectMessage('after', 1)));
  expect(await outcome).toEqual({ kind: 'acknowledged' });
  await eventually('seen.length === 4', () => seen.length === 4);
  expect(contentsOf(seen)).toEqual(numbered(4));
  await operator.close();
});

test('H1: a cluster of three loses its leader while messages flow both ways: none that was taken is lost or doubled', async () => {
  await using cluster = await startNatsCluster();
  const settings = { servers: [...cluster.urls], replicas: 3, holdMs: 90_000, requestTimeoutMs: 2_000 };
  await using a = await startNatsBus(settings);
  await using b = await startNatsBus(settings);
  await healthy(a);
  await healthy(b);
  const seen: HeardEvent[] = [];
  b.bus.subscribe({}, (event) => seen.push(event), { afterId: '0' });
  const edge = new TakingConsumer();
  b.bus.attach('edge-1', edge);
  const operator = await connect({ servers: [...cluster.urls] });
  const { streams } = await jetstreamManager(operator, { timeout: 20_000 });
  const { cluster: placed } = await streams.info('sallyport-down');
  const leader = cluster.servers[Number(placed!.leader!.slice(1))]!;
  const count = 300;
  const retrying = async (task: () => Promise<unknown>) => {
    // What a cloud program does: QUEUE_FULL and BUS_UNAVAILABLE say that the message was not taken.
    for (;;) {
      try {
        return await task();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  const flow = numbered(count).map(async (n) => {
    await new Promise((resolve) => setTimeout(resolve, n * 10));
    if (n === 100) await leader.kill();
    if (n === 200) await leader.start();
    const item = itemFor('edge-1', objectMessage(`o${n}`, 1));
    await Promise.all([
      retrying(() => a.bus.publish(upstream('edge-1', n))),
      retrying(() => a.bus.enqueue(item)),
    ]);
  });
  await Promise.all(flow);
  await eventually(
    'edge.contents.length >= count && seen.length >= count',
    () => edge.contents.length >= count && seen.length >= count,
  );
  const delivered = new Set(edge.contents);
  expect(delivered.size).toBe(count);
  expect(new Set(contentsOf(seen)).size).toBe(count);
  expect(edge.contents.length - delivered.size).toBe(0);
  await operator.close();
});
