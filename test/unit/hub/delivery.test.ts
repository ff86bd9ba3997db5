import { expect, onTestFinished, test, vi } from 'vitest';
import type { SentMessage } from '../../../src/contracts/message-bus.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { createMessage, Message } from '../../../src/protocol/message.ts';
import { settle } from '../../fakes/manual-clock.ts';
import { objectMessage } from '../../support/edges/messages.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestHub } from '../../support/fleets/hub.ts';

const stillWaiting = Symbol('still waiting');
const stateOf = (promise: Promise<unknown>) => Promise.race([promise, settle().then(() => stillWaiting)]);

test('sends what a cloud program hands over, without the prefix of the node, and tells its acknowledgement', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  const message = createMessage(
    {
      source: 'edgecontroller',
      group: 'resource',
      operation: 'insert',
      resource: 'node/edge-1/default/configmap/demo',
    },
    { a: 1 },
    { now: 0, resourceVersion: '5' },
  );
  const result = gate.hub.send({ node: 'edge-1', message, wait: 'ack' });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  expect(edge.sent[0]).toEqual({
    ...message,
    route: { ...message.route, resource: 'default/configmap/demo' },
  });
  edge.acknowledge(edge.sent[0]!);
  expect(await result).toMatchObject({ kind: 'acknowledged', response: { content: 'OK' } });
  expect(await gate.metric('acknowledgements_total', { result: 'positive' })).toBe(1);
});

test('a negative acknowledgement is told as such', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  const result = gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'ack' });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  edge.acknowledge(edge.sent[0]!, 'error');
  expect(await result).toMatchObject({ kind: 'rejected' });
});

test('J1: sent again every 5 s, 4 times, then after a back-off, then given up; the others are not delayed', async () => {
  await using gate = await startTestHub({ keepaliveTimeoutMs: 600_000 });
  const edge = gate.connect('edge-1');
  const lost = gate.hub.send({
    node: 'edge-1',
    message: objectMessage('lost', 1),
    wait: 'ack',
    timeoutMs: 600_000,
  });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  const sentAt: number[] = [0];
  const begin = gate.clock.now();
  for (let second = 1; second <= 26; second++) {
    await gate.clock.advance(1_000);
    while (sentAt.length < edge.sent.length) sentAt.push((gate.clock.now() - begin) / 1_000);
  }
  expect(sentAt).toEqual([0, 5, 10, 15, 20]);
  expect(new Set(edge.sent.map(({ header }) => header.msg_id)).size).toBe(1);
  const other = gate.hub.send({ node: 'edge-1', message: objectMessage('other', 1), wait: 'ack' });
  await eventually(
    "edge.resources.at(-1)?.endsWith('other') === true",
    () => edge.resources.at(-1)?.endsWith('other') === true,
  );
  edge.acknowledge(edge.sent.at(-1)!);
  expect(await other).toMatchObject({ kind: 'acknowledged' });

  await gate.clock.advance(200_000);
  expect(await lost).toEqual({ kind: 'unacknowledged' });
  expect(edge.resources.filter((resource) => resource?.endsWith('lost'))).toHaveLength(15);
  expect(await gate.metric('messages_dropped_total', { reason: 'unacknowledged' })).toBe(1);
  expect(await gate.metric('messages_retried_total')).toBe(14);
  expect(gate.hub.get('edge-1')).toMatchObject({ queued: 0, unacknowledged: 0 });
  const inUse = gate.clock.pending;
  await gate.clock.advance(100_000);
  expect(edge.sent).toHaveLength(16);
  expect(gate.clock.pending).toBe(inUse);
});

test('J1: many messages that are never acknowledged leave half of the window to the others', async () => {
  await using gate = await startTestHub({ keepaliveTimeoutMs: 600_000, window: 4 });
  const edge = gate.connect('edge-1');
  const queue = (name: string) =>
    gate.hub.send({ node: 'edge-1', message: objectMessage(name, 1), wait: 'ack', timeoutMs: 600_000 });
  const mute = [1, 2, 3, 4].map((index) => queue(`mute-${index}`));
  await eventually('edge.sent.length === 4', () => edge.sent.length === 4);
  await gate.clock.advance(26_000);
  expect(gate.hub.get('edge-1')!.unacknowledged).toBe(2);
  const other = queue('other');
  await eventually("edge.resources.at(-1)!.endsWith('other')", () =>
    edge.resources.at(-1)!.endsWith('other'),
  );
  edge.acknowledge(edge.sent.at(-1)!);
  expect(await other).toMatchObject({ kind: 'acknowledged' });
  await gate.clock.advance(200_000);
  expect((await Promise.all(mute)).map(({ kind }) => kind)).toEqual(Array(4).fill('unacknowledged'));
  expect(await gate.metric('messages_dropped_total', { reason: 'unacknowledged' })).toBe(4);
});

test('J2: unacknowledged messages are sent to the next session, the newest version of each, once, deletes included', async () => {
  await using gate = await startTestHub();
  const first = gate.connect('edge-1');
  const queue = (message: Parameters<typeof gate.hub.send>[0]['message']) =>
    gate.hub.send({ node: 'edge-1', message, wait: 'queued' });
  for (const name of ['a', 'b', 'c']) await queue(objectMessage(name, 1));
  await eventually('first.sent.length === 3', () => first.sent.length === 3);
  first.acknowledge(first.sent[1]!);
  first.vanish();
  await queue(objectMessage('a', 2));
  await queue(objectMessage('c', 2, { operation: 'delete', content: 'c gone' }));
  await queue(objectMessage('c', 1));
  await queue(objectMessage('d', 1));
  const second = gate.connect('edge-1');
  second.acknowledges = true;
  await eventually('second.sent.length >= 3', () => second.sent.length >= 3);
  await gate.clock.advance(20_000);
  expect(second.contents).toEqual(['a@2', 'c gone', 'd@1']);
});

test('J2: a take-over keeps the order: what the old session had under way goes before what waited', async () => {
  await using gate = await startTestHub({ window: 2 });
  const first = gate.connect('edge-1');
  for (const name of ['a', 'b', 'c', 'd'])
    await gate.hub.send({ node: 'edge-1', message: objectMessage(name, 1), wait: 'queued' });
  await eventually('first.sent.length === 2', () => first.sent.length === 2);
  const second = gate.connect('edge-1');
  second.acknowledges = true;
  await eventually('second.sent.length === 4', () => second.sent.length === 4);
  expect(second.contents).toEqual(['a@1', 'b@1', 'c@1', 'd@1']);
  expect(first.contents).toEqual(['a@1', 'b@1']);
});

test('J3: duplicate, late and forged acknowledgements complete nothing; only the session that owns the message counts', async () => {
  await using gate = await startTestHub();
  const [owner, other] = [gate.connect('edge-1'), gate.connect('edge-2')];
  const result = gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'ack' });
  await eventually('owner.sent.length === 1', () => owner.sent.length === 1);
  const [message] = owner.sent;
  other.acknowledge(message!);
  owner.acknowledge(createMessage(message!.route, null, { now: 0 }));
  expect(await stateOf(result)).toBe(stillWaiting);
  owner.acknowledge(message!);
  owner.acknowledge(message!);
  owner.acknowledge(message!, 'error');
  expect(await result).toMatchObject({ kind: 'acknowledged' });
  await gate.clock.advance(6_000);
  owner.acknowledge(message!);
  expect(await gate.metric('acknowledgements_total', { result: 'positive' })).toBe(1);
  expect(await gate.metric('acknowledgements_total', { result: 'unknown' })).toBe(5);
  expect(owner.sent).toHaveLength(1);
  expect(gate.events.filter(({ event }) => event.type === 'message')).toEqual([]);
});

test('J3: the acknowledgement of a message that was not sent yet is forged', async () => {
  await using gate = await startTestHub({ window: 1 });
  const edge = gate.connect('edge-1');
  const first = gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'ack' });
  const guessed = objectMessage('b', 1);
  const second = gate.hub.send({ node: 'edge-1', message: guessed, wait: 'ack' });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  edge.acknowledge(guessed);
  expect(await stateOf(second)).toBe(stillWaiting);
  edge.acknowledge(edge.sent[0]!);
  await eventually('edge.sent.length === 2', () => edge.sent.length === 2);
  edge.acknowledge(guessed);
  expect([await first, await second]).toMatchObject([{ kind: 'acknowledged' }, { kind: 'acknowledged' }]);
});

test('a message the connection is slow to take does not hold up the next', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  let release = () => {};
  edge.stalled = new Promise((resolve) => (release = resolve));
  const large = gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'ack' });
  await eventually(
    "gate.hub.get('edge-1')!.unacknowledged === 1",
    () => gate.hub.get('edge-1')!.unacknowledged === 1,
  );
  edge.stalled = undefined;
  const small = gate.hub.send({ node: 'edge-1', message: objectMessage('b', 1), wait: 'ack' });
  await eventually("edge.sent.some(({ route }) => route.resource?.endsWith('b'))", () =>
    edge.sent.some(({ route }) => route.resource?.endsWith('b')),
  );
  edge.acknowledge(edge.sent.find(({ route }) => route.resource?.endsWith('b'))!);
  expect(await small).toMatchObject({ kind: 'acknowledged' });
  expect(await stateOf(large)).toBe(stillWaiting);
  release();
  await eventually('edge.sent.length === 2', () => edge.sent.length === 2);
  edge.acknowledge(edge.sent.find(({ route }) => route.resource?.endsWith('a'))!);
  expect(await large).toMatchObject({ kind: 'acknowledged' });
});

test.each([
  ['user data', { group: 'user', operation: 'upload', resource: 'topic/x' }, 'data', {}],
  ['an answer that says OK', { group: 'resource', operation: 'response', resource: 'r' }, 'OK', {}],
  [
    'an answer to a question',
    { group: 'resource', operation: 'response', resource: 'r' },
    {},
    { parentId: 'q' },
  ],
  ['membership', { group: 'twin', operation: 'updated', resource: 'membership/detail' }, {}, {}],
  ['a device twin', { group: 'twin', operation: 'update', resource: 'device/d/twin/cloud_updated' }, {}, {}],
  ['a list of pods', { group: 'resource', operation: 'update', resource: 'default/podlist' }, [], {}],
  [
    'a service account token',
    { group: 'resource', operation: 'update', resource: 'default/serviceaccounttoken/t' },
    {},
    {},
  ],
])('sends %s once, without waiting', async (_what, route, content, options) => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  const message = createMessage({ source: 'edgecontroller', ...route }, content, { now: 0, ...options });
  expect(await gate.hub.send({ node: 'edge-1', message, wait: 'ack' })).toEqual({ kind: 'sent' });
  await gate.clock.advance(20_000);
  expect(edge.sent).toHaveLength(1);
});

test('I6: a slow edge has no more than the window under way, and what waits can still be replaced', async () => {
  await using gate = await startTestHub({ window: 2 });
  const edge = gate.connect('edge-1');
  for (let index = 0; index < 10; index++)
    await gate.hub.send({ node: 'edge-1', message: objectMessage(`o${index}`, 1), wait: 'queued' });
  await settle();
  expect(edge.sent).toHaveLength(2);
  expect(gate.hub.get('edge-1')).toMatchObject({ queued: 8, unacknowledged: 2 });
});

test('a connection that takes nothing more is ended, and its messages wait for the next', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  edge.sendError = new Error('write deadline');
  await gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'queued' });
  await eventually('edge.closedWith !== undefined', () => edge.closedWith !== undefined);
  expect(edge.closedWith?.name).toBe('SlowConsumer');
  expect(gate.bus.backlog('edge-1').messages).toBe(1);
});

test('a message the transport can never send is dropped and told, and the next goes on', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  edge.sendError = new SallyportError('MESSAGE_TOO_LARGE', { limitBytes: 1 });
  const result = await gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'ack' });
  expect(result).toEqual({ kind: 'dropped', reason: 'message-too-large' });
  edge.sendError = undefined;
  void gate.hub.send({ node: 'edge-1', message: objectMessage('b', 1), wait: 'queued' });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
});

test('refuses what cannot be sent, with a reason', async () => {
  await using gate = await startTestHub();
  gate.connect('edge-1');
  const send = (node: string, message: unknown, wait: 'ack' | 'queued' = 'ack') =>
    gate.hub.send({ node, message: message as ReturnType<typeof objectMessage>, wait });
  await expect(send('edge-2', objectMessage('a', 1))).rejects.toMatchObject({ code: 'NODE_OFFLINE' });
  expect(await send('edge-2', objectMessage('a', 1), 'queued')).toEqual({ kind: 'queued' });
  const nameless = createMessage({ resource: 'a' }, null, { now: 1, id: '' });
  await expect(send('edge-1', nameless)).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
  await expect(send('Not a node', objectMessage('a', 1))).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
  const stray = createMessage({ resource: 'node/edge-9/x' }, null, { now: 0 });
  await expect(send('edge-1', stray)).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
});

test('stops waiting when the caller does', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  const abort = new AbortController();
  const result = gate.hub.send({
    node: 'edge-1',
    message: objectMessage('a', 1),
    wait: 'ack',
    signal: abort.signal,
  });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  abort.abort(new Error('client went away'));
  await expect(result).rejects.toThrow('client went away');
});

test('P6: what goes to a node is shown once to whoever follows it, as cloud programs name it; without a follower nothing is made for it', async () => {
  let [asked, shown] = [0, 0];
  await using gate = await startTestHub({
    wrapBus: (bus) => {
      const { isWatched, show } = bus;
      return Object.assign(bus, {
        isWatched: (node: string) => {
          asked++;
          return isWatched.call(bus, node);
        },
        show: (sent: SentMessage) => {
          shown++;
          show.call(bus, sent);
        },
      });
    },
  });
  const edge = gate.connect('edge-1');
  edge.acknowledges = true;
  gate.connect('edge-2').acknowledges = true;
  const copies = vi.spyOn(Message.prototype, 'withRoute');
  onTestFinished(() => copies.mockRestore());
  const send = (node: string, name: string) =>
    gate.hub.send({ node, message: objectMessage(name, 1), wait: 'ack' });
  for (let n = 0; n < 100; n++) await send('edge-1', `o${n}`);
  expect([asked, shown, copies.mock.calls.length]).toEqual([100, 0, 0]);

  const heard: unknown[] = [];
  const directions = ['downstream'] as const;
  const follower = gate.bus.subscribe({ node: 'edge-1', directions }, ({ event }) => heard.push(event));
  await send('edge-2', 'of-another');
  edge.acknowledges = false;
  const again = send('edge-1', 'again');
  await eventually('it is sent', () => edge.sent.at(-1)!.content === 'again@1');
  await gate.clock.advance(5_000);
  await eventually(
    'it is sent again',
    () => edge.sent.filter(({ content }) => content === 'again@1').length === 2,
  );
  edge.acknowledge(edge.sent.at(-1)!);
  await again;
  // An acknowledgement of the hub is none of them.
  await edge.says({ source: 'app', group: 'user', operation: 'update', resource: 'r' }, 1, { sync: true })
    .taken;
  expect(heard).toEqual([
    {
      type: 'message',
      direction: 'downstream',
      node: 'edge-1',
      sessionId: gate.hub.get('edge-1')!.sessionId,
      message: expect.objectContaining({
        route: expect.objectContaining({ resource: 'node/edge-1/default/configmap/again' }),
      }),
      bytes: expect.any(Number),
    },
  ]);
  follower.end();
  await send('edge-2', 'later');
  expect(shown).toBe(1);
});
