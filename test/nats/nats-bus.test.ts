import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, headers, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HeardEvent } from '../../src/contracts/message-bus.ts';
import { createMessage } from '../../src/protocol/message.ts';
import { itemFor, metric, objectMessage } from '../support/edges/messages.ts';
import { eventually } from '../support/eventually.ts';
import { type NatsServer, startNatsServer } from '../support/fleets/nats-server.ts';
import { numbered, startNatsBus, TakingConsumer, upstream } from './rig.ts';

let server: NatsServer;
let program: NatsConnection;
let prefixes = 0;
beforeAll(async () => {
  server = await startNatsServer();
  program = await connect({ servers: server.url });
});
afterAll(async () => {
  await program.close();
  await server[Symbol.asyncDispose]();
});

const fresh = () => ({ servers: [server.url], prefix: `t${prefixes++}` });

/** A message of user data: not about an object, sent once. */
function userData(content: unknown) {
  return createMessage({ source: 'router', group: 'user', resource: 'topic' }, content, { now: 0 });
}

test('H1: a message that enters any replica reaches the node on another one once, and its outcome comes back', async () => {
  const settings = fresh();
  await using a = await startNatsBus(settings);
  await using b = await startNatsBus(settings);
  const edge = new TakingConsumer();
  b.bus.attach('edge-1', edge);
  const sent = await Promise.all(
    numbered(100).map((n) => a.bus.enqueue(itemFor('edge-1', objectMessage(`o${n}`, 1)))),
  );
  const outcomes = await Promise.all(sent.map(({ outcome }) => outcome));
  expect(outcomes.every(({ kind }) => kind === 'acknowledged')).toBe(true);
  expect(new Set(edge.contents).size).toBe(100);
  expect(edge.contents.length).toBe(100);
  expect(await metric(a.metrics, 'bus_outcomes_waiting')).toBe(0);
  expect(await metric(a.metrics, 'bus_published_total', { stream: 'down' })).toBe(100);
});

test('J2: a node that moves to another replica gets there what was under way, in its newest version, and nothing twice', async () => {
  const settings = fresh();
  await using a = await startNatsBus(settings);
  await using b = await startNatsBus(settings);
  const gone = new TakingConsumer({
    answer: async ({ message }) =>
      message.content === 'done@1' ? { kind: 'acknowledged' } : await new Promise(() => {}),
  });
  const detach = a.bus.attach('edge-1', gone);
  for (const name of ['kept', 'done', 'replaced', 'removed'])
    await b.bus.enqueue(itemFor('edge-1', objectMessage(name, 1)));
  await eventually('gone.contents.length === 4', () => gone.contents.length === 4);
  detach();
  await b.bus.enqueue(itemFor('edge-1', objectMessage('replaced', 2)));
  await b.bus.enqueue(
    itemFor('edge-1', objectMessage('removed', 2, { operation: 'delete', content: 'removed' })),
  );
  const edge = new TakingConsumer();
  b.bus.attach('edge-1', edge);
  await eventually('edge.contents.length >= 3', () => edge.contents.length >= 3);
  expect(edge.contents).toEqual(['kept@1', 'replaced@2', 'removed']);
});

test('J3: a message that enters twice under one id, on two replicas, is delivered once', async () => {
  const settings = fresh();
  await using a = await startNatsBus(settings);
  await using b = await startNatsBus(settings);
  const message = userData('once');
  await a.bus.enqueue(itemFor('edge-1', message, { acknowledged: false }));
  const second = await b.bus.enqueue(itemFor('edge-1', message, { acknowledged: false }));
  expect(await second.outcome).toEqual({ kind: 'dropped', reason: 'duplicate' });
  const edge = new TakingConsumer();
  b.bus.attach('edge-1', edge);
  await b.bus.enqueue(itemFor('edge-1', userData('last'), { acknowledged: false }));
  await eventually("edge.contents.includes('last')", () => edge.contents.includes('last'));
  expect(edge.contents).toEqual(['once', 'last']);
});

test('a message that an edge sends again through another replica is seen once by programs', async () => {
  const settings = fresh();
  await using a = await startNatsBus(settings);
  await using b = await startNatsBus(settings);
  const seen: HeardEvent[] = [];
  b.bus.subscribe({}, (event) => seen.push(event));
  const event = upstream('edge-1', 'again');
  await a.bus.publish(event);
  await b.bus.publish(event);
  await b.bus.publish(upstream('edge-1', 'last'));
  await eventually('seen.length >= 2', () => seen.length >= 2);
  expect(seen.map(({ event }) => event.type === 'message' && event.message.content)).toEqual([
    'again',
    'last',
  ]);
});

test('a follower that moves to another replica goes on after the last event it saw', async () => {
  const settings = fresh();
  await using a = await startNatsBus(settings);
  await using b = await startNatsBus(settings);
  const seen: HeardEvent[] = [];
  const following = a.bus.subscribe({}, (event) => seen.push(event));
  for (const n of numbered(5)) await b.bus.publish(upstream('edge-1', n));
  await eventually('seen.length === 5', () => seen.length === 5);
  following.end();
  for (const n of numbered(5)) await a.bus.publish(upstream('edge-1', n + 5));
  b.bus.subscribe({}, (event) => seen.push(event), { afterId: seen.at(-1)!.id! });
  await eventually('seen.length === 10', () => seen.length === 10);
  expect(seen.map(({ event }) => event.type === 'message' && event.message.content)).toEqual(numbered(10));
  b.bus.subscribe({}, (event) => seen.push(event), { afterId: '999999' });
  await eventually('seen.length === 20', () => seen.length === 20);
});

test('L9: a follower is told how many events the stream has let go before it came back, and while it read', async () => {
  const settings = { ...fresh(), limits: { upstreamMessages: 100 } };
  await using rig = await startNatsBus(settings);
  const heard: unknown[] = [];
  const follow = (afterId: string) =>
    rig.bus.subscribe({}, ({ event }) => heard.push(event.type === 'message' && event.message.content), {
      afterId,
      onMissed: ({ count }) => heard.push({ missed: count }),
    });
  const last = (await Promise.all(numbered(250).map((n) => rig.bus.publish(upstream('edge-1', n))))).length;
  const late = follow('20');
  await eventually('heard.length === 101', () => heard.length === 101);
  expect(heard[0]).toEqual({ missed: last - 100 - 20 });
  expect(late.position()).toBe('250');
  heard.length = 0;
  const { streams } = await jetstreamManager(program);
  await streams.purge(`${settings.prefix}-up`);
  await rig.bus.publish(upstream('edge-1', 'kept'));
  await streams.deleteMessage(`${settings.prefix}-up`, 251);
  follow('249');
  await rig.bus.publish(upstream('edge-1', 'last'));
  await eventually(
    "heard.filter((one) => one === 'last').length === 2",
    () => heard.filter((one) => one === 'last').length === 2,
  );
  expect(heard).toContainEqual({ missed: 2 });
});

test('a program with a plain NATS client reaches a node, and hears what became of its message', async () => {
  const settings = fresh();
  await using rig = await startNatsBus(settings);
  const edge = new TakingConsumer();
  rig.bus.attach('rack.7', edge);
  const inbox = '_INBOX.program.1';
  const outcomes: unknown[] = [];
  program.subscribe(inbox, { callback: (_, message) => void outcomes.push(message.json()) });
  const message = objectMessage('from-outside', 1);
  const sent = headers();
  sent.set('Sallyport-Outcome-To', inbox);
  const ack = await jetstream(program).publish(`${settings.prefix}.down.rack=2E7`, JSON.stringify(message), {
    headers: sent,
    msgID: `rack.7:${message.header.msg_id}`,
  });
  expect(ack.stream).toBe(`${settings.prefix}-down`);
  await eventually('outcomes.length === 1', () => outcomes.length === 1);
  expect(edge.contents).toEqual(['from-outside@1']);
  expect(outcomes).toEqual([
    { node: 'rack.7', msg_id: message.header.msg_id, outcome: { kind: 'acknowledged' } },
  ]);
});

test('what a program puts into the stream that is no message is dropped, counted and told', async () => {
  const settings = fresh();
  await using rig = await startNatsBus(settings);
  const edge = new TakingConsumer();
  rig.bus.attach('edge-1', edge);
  const outcomes: unknown[] = [];
  program.subscribe('_INBOX.program.2', { callback: (_, message) => void outcomes.push(message.json()) });
  const sent = headers();
  sent.set('Sallyport-Outcome-To', '_INBOX.program.2');
  const js = jetstream(program);
  await js.publish(`${settings.prefix}.down.edge-1`, 'no JSON', { headers: sent });
  const other = objectMessage('x', 1);
  const forOther = { ...other, route: { ...other.route, resource: 'node/edge-2/default/configmap/x' } };
  await js.publish(`${settings.prefix}.down.edge-1`, JSON.stringify(forOther), { headers: sent });
  await eventually('outcomes.length === 2', () => outcomes.length === 2);
  expect(outcomes[0]).toMatchObject({ outcome: { kind: 'dropped', reason: 'message-invalid' } });
  expect(edge.contents).toEqual([]);
  expect(await metric(rig.metrics, 'messages_dropped_total', { reason: 'message-invalid' })).toBe(2);
});

test('a program follows one kind of upstream message by its subject, and presence by another', async () => {
  const settings = fresh();
  await using rig = await startNatsBus(settings);
  const heard: string[] = [];
  for (const subject of ['up.*.resource.edged.update.default.podstatus.>', 'presence.*'])
    program.subscribe(`${settings.prefix}.${subject}`, {
      callback: (_, message) => {
        heard.push(`${message.subject} ${message.json<{ event_type?: string }>().event_type}`);
      },
    });
  await program.flush();
  await rig.bus.publish(upstream('rack.7', 1));
  await rig.bus.publish({ type: 'connected', node: 'rack.7', sessionId: 's', transport: 'quic', at: 5 });
  await eventually('heard.length === 2', () => heard.length === 2);
  expect(heard).toEqual([
    `${settings.prefix}.up.rack=2E7.resource.edged.update.default.podstatus.p=2E1 undefined`,
    `${settings.prefix}.presence.rack=2E7 connected`,
  ]);
});

test('I13: what waits for nodes that never connect is bounded in NATS, costs a replica nothing, and replaced versions make room', async () => {
  const settings = fresh();
  const limits = { messagesPerNode: 10, downstreamMessages: 100, outcomes: 20 };
  await using a = await startNatsBus({ ...settings, limits });
  await using b = await startNatsBus({ ...settings, limits });
  let refused = 0;
  for (const version of numbered(6))
    for (const node of numbered(15))
      await [a, b]
        [version % 2]!.bus.enqueue(itemFor(`away-${node}`, objectMessage(`o${version % 3}`, version + 1)))
        .catch((error) => {
          expect(error.code).toBe('QUEUE_FULL');
          refused++;
        });
  expect(refused).toBe(0);
  const { state } = await (await jetstreamManager(program)).streams.info(`${settings.prefix}-down`);
  expect(state.messages).toBeLessThanOrEqual(100);
  expect(await metric(a.metrics, 'bus_outcomes_waiting')).toBeLessThanOrEqual(20);
  expect(await metric(a.metrics, 'downstream_queued_messages')).toBe(0);
  const edge = new TakingConsumer();
  a.bus.attach('away-3', edge);
  await eventually('edge.contents.length >= 3', () => edge.contents.length >= 3);
  expect(edge.contents).toEqual(['o0@4', 'o1@5', 'o2@6']);
});

test('a message whose sender does not ask what became of it leaves nothing in the replica', async () => {
  await using rig = await startNatsBus(fresh());
  for (const n of numbered(50)) await rig.bus.post(itemFor('away', objectMessage(`o${n}`, 1)));
  expect(await metric(rig.metrics, 'bus_outcomes_waiting')).toBe(0);
  await rig.bus.enqueue(itemFor('away', objectMessage('asked', 1)));
  expect(await metric(rig.metrics, 'bus_outcomes_waiting')).toBe(1);
  const edge = new TakingConsumer();
  rig.bus.attach('away', edge);
  await eventually('edge.contents.length === 51', () => edge.contents.length === 51);
});

test('J5: a queue that is full of what is still wanted refuses, and says so', async () => {
  await using rig = await startNatsBus({ ...fresh(), limits: { messagesPerNode: 3, downstreamMessages: 4 } });
  for (const n of numbered(3)) await rig.bus.enqueue(itemFor('away', userData(n), { acknowledged: false }));
  await expect(rig.bus.enqueue(itemFor('away', userData(4), { acknowledged: false }))).rejects.toMatchObject({
    code: 'QUEUE_FULL',
  });
  await rig.bus.enqueue(itemFor('other', userData(0), { acknowledged: false }));
  await expect(rig.bus.enqueue(itemFor('other', userData(1), { acknowledged: false }))).rejects.toMatchObject(
    { code: 'QUEUE_FULL' },
  );
  expect(await metric(rig.metrics, 'messages_dropped_total', { reason: 'queue-full' })).toBe(2);
  expect(rig.bus.problem()).toBeUndefined();
});

test('I10: a node with thousands of messages waiting does not hold up the others, and is read piece by piece', async () => {
  await using rig = await startNatsBus({ ...fresh(), limits: { messagesPerNode: 3_000 } });
  const items = numbered(2_000).map((n) => itemFor('busy', userData(n), { acknowledged: false }));
  await Promise.all(items.map((item) => rig.bus.enqueue(item)));
  const busy = new TakingConsumer({ window: 4, answer: async () => ({ kind: 'sent' }) });
  const calm = new TakingConsumer();
  rig.bus.attach('busy', busy);
  rig.bus.attach('calm', calm);
  const { outcome } = await rig.bus.enqueue(itemFor('calm', objectMessage('a', 1)));
  await outcome;
  expect(busy.contents.length).toBeLessThan(2_000);
  expect(rig.bus.backlog('busy').messages).toBeLessThanOrEqual(64);
  await eventually('busy.contents.length === 2_000', () => busy.contents.length === 2_000);
  expect(busy.contents).toEqual(numbered(2_000));
});

test('streams that exist with the same settings are adopted; with others the setting, what is found and what to do are named', async () => {
  const settings = fresh();
  await using first = await startNatsBus(settings);
  await using second = await startNatsBus(settings);
  expect([first.bus.problem(), second.bus.problem()]).toEqual([undefined, undefined]);
  await expect(startNatsBus({ ...settings, limits: { downstreamMessages: 5 } })).rejects.toMatchObject({
    code: 'BUS_SETTINGS_DIFFER',
    details: { what: `stream ${settings.prefix}-down`, setting: 'max_msgs', found: '1000000', wanted: '5' },
  });
});

test('a message larger than NATS takes is refused with its limit, and nothing else suffers', async () => {
  await using rig = await startNatsBus(fresh());
  const big = { ...upstream('edge-1', 'x'.repeat(2 * 1024 * 1024)) };
  await expect(rig.bus.publish(big)).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE' });
  await rig.bus.publish(upstream('edge-1', 'small'));
});
