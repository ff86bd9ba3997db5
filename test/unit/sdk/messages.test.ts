import { expect, test, vi } from 'vitest';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { createMessage, type Message } from '../../../src/protocol/message.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { eventuallyHolds } from '../../support/eventually.ts';
import { EdgeFixture, next } from './edge-fixture.ts';

const draft = (content: unknown) => ({ resource: 'default/podstatus/p-1', operation: 'update', content });

test('connects as EdgeCore does: path, headers, a keepalive at once and one every heartbeat', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  await edge.connect({}, { clock });
  const { request } = edge.hub.session;
  expect(request.url).toBe('/e632aba927ea4ac2b575ec1603d56f10/edge-1/events');
  expect(request.headers).toMatchObject({
    node_id: 'edge-1',
    project_id: 'e632aba927ea4ac2b575ec1603d56f10',
    connectionuse: 'msg',
  });
  expect(request.headers['sec-websocket-extensions']).toBeUndefined();
  await eventuallyHolds(() => expect(edge.hub.keepalives).toHaveLength(1));
  expect(edge.hub.keepalives[0]).toMatchObject({
    route: { source: 'websocket', group: 'resource', operation: 'keepalive', resource: 'node' },
    content: 'ping',
  });
  await clock.advance(15_000);
  await eventuallyHolds(() => expect(edge.hub.keepalives).toHaveLength(2));
});

test('send resolves when the hub acknowledged, and not before', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  edge.hub.acknowledge = 'never';
  const done = vi.fn();
  const sent = client.send(draft(1)).then(done);
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(1));
  expect(edge.hub.received[0]!.header.sync).toBe(true);
  expect(done).not.toHaveBeenCalled();
  const parentId = edge.hub.received[0]!.header.msg_id;
  edge.hub.write(createMessage({ operation: 'response' }, 'OK', { now: 1, parentId }));
  await sent;
  expect(client.queued).toBe(0);
});

test('send rejects with the words of the hub when it answers with an error', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  edge.hub.acknowledge = 'error';
  await expect(client.send(draft(1))).rejects.toMatchObject({
    code: 'HUB_REFUSED_MESSAGE',
    message: expect.stringContaining('belongs to another node'),
  });
});

test('a message that wants no acknowledgement is not marked sync and is done when it went out', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  edge.hub.acknowledge = 'never';
  await client.send(draft(1), { acknowledged: false });
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(1));
  expect(edge.hub.received[0]!.header.sync).toBeUndefined();
});

test('acknowledges what the hub sends after the handler is done with it, as EdgeCore does', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const work = Promise.withResolvers<void>();
  const seen: Message[] = [];
  client.on('message', async (message) => {
    seen.push(message);
    await work.promise;
  });
  const pushed = edge.hub.push('default/configmap/demo', { a: 1 }, 'insert');
  await eventuallyHolds(() => expect(seen).toHaveLength(1));
  expect(JSON.stringify(seen[0])).toBe(JSON.stringify(pushed));
  expect(edge.hub.received).toEqual([]);
  work.resolve();
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(1));
  expect(edge.hub.received[0]).toMatchObject({
    header: { parent_msg_id: pushed.header.msg_id },
    route: {
      operation: 'response',
      source: 'edgecontroller',
      group: 'resource',
      resource: 'default/configmap/demo',
    },
    content: 'OK',
  });
});

test('answers with an error when the handler fails', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  client.on('message', () => {
    throw new Error('disk full');
  });
  const pushed = edge.hub.push('default/configmap/demo', {});
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(1));
  expect(edge.hub.received[0]).toMatchObject({
    header: { parent_msg_id: pushed.header.msg_id },
    route: { operation: 'error' },
    content: 'disk full',
  });
});

test('J3: what the hub sends again is acknowledged again and not delivered twice, also after a reconnect', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const handler = vi.fn();
  client.on('message', handler);
  const pushed = edge.hub.push('default/configmap/demo', {});
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(1));
  edge.hub.write(pushed);
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(2));
  const back = next(client, 'connected');
  edge.hub.drop();
  await back;
  edge.hub.write(pushed);
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(3));
  expect(edge.hub.received.map((message) => message.header.parent_msg_id)).toEqual(
    Array(3).fill(pushed.header.msg_id),
  );
  expect(handler).toHaveBeenCalledTimes(1);
});

test('does not acknowledge a message while nobody listens, so that the hub keeps it', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const pushed = edge.hub.push('default/configmap/demo', {});
  await client.send(draft('later than the push'));
  client.on('message', () => {});
  edge.hub.write(pushed);
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(2));
  expect(edge.hub.received[1]!.header.parent_msg_id).toBe(pushed.header.msg_id);
});

test('respond takes the place of the acknowledgement and is repeated for a repeated question', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  client.on('message', (message) => client.respond(message, { temperature: 21 }));
  const question = edge.hub.push('default/sensor/t', null, 'get');
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(1));
  edge.hub.write(question);
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(2));
  await client.send(draft('a marker'));
  expect(edge.hub.received.slice(0, 2).map(({ header, content }) => [header.parent_msg_id, content])).toEqual(
    [
      [question.header.msg_id, { temperature: 21 }],
      [question.header.msg_id, { temperature: 21 }],
    ],
  );
  expect(edge.hub.received).toHaveLength(3);
});

test('request resolves with the answer, which no message handler sees and which the hub wants no word about', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  edge.hub.answersGets = true;
  const handler = vi.fn();
  client.on('message', handler);
  const answer = await client.request({ resource: 'membership/detail', operation: 'get', content: 'x' });
  expect(answer.content).toEqual({ echo: 'x' });
  await client.send(draft('a marker'));
  expect(edge.hub.received.map(({ route }) => route.operation)).toEqual(['get', 'update']);
  expect(handler).not.toHaveBeenCalled();
});

test('request gives up after its time', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  const client = await edge.connect({}, { clock });
  const failed = expect(
    client.request({ resource: 'membership/detail', operation: 'get' }, { timeoutMs: 1_000 }),
  ).rejects.toMatchObject({ code: 'ANSWER_TIMEOUT' });
  await clock.advance(1_000);
  await failed;
  expect(client.queued).toBe(0);
});

test('J2: what is sent offline, or was never acknowledged, reaches the hub after the reconnect, in order, each once', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  edge.hub.acknowledge = 'never';
  const first = [1, 2, 3].map((content) => client.send(draft(content)));
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(3));

  const down = next(client, 'disconnected');
  edge.hub.refuseConnect = { status: 503 };
  edge.hub.drop();
  await down;
  const later = [4, 5, 6].map((content) => client.send(draft(content)));
  edge.hub.acknowledge = 'OK';
  edge.hub.refuseConnect = undefined;
  await Promise.all([...first, ...later]);
  expect(edge.hub.contents).toEqual([1, 2, 3, 4, 5, 6]);
  // After the reconnect the order is whole, not only the set.
  expect(edge.hub.received.slice(3).map(({ content }) => content)).toEqual([1, 2, 3, 4, 5, 6]);
});

test('messages whose acknowledgement is overdue are sent again on the same link, with the same id', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  const client = await edge.connect({ ackTimeoutMs: 1_000, heartbeatMs: 1e9 }, { clock });
  edge.hub.acknowledge = 'never';
  const sent = client.send(draft(1));
  await eventuallyHolds(() => expect(edge.hub.received).toHaveLength(1));
  edge.hub.acknowledge = 'OK';
  await clock.advance(2_000);
  await sent;
  const [first, second] = edge.hub.received;
  expect(second!.header.msg_id).toBe(first!.header.msg_id);
  expect(edge.hub.sessions).toHaveLength(1);
});

test('the queue is bounded', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.join({ queue: { messages: 2 } });
  const kept = [client.send(draft(1)), client.send(draft(2))];
  await expect(client.send(draft(3))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  await client.connect();
  await Promise.all(kept);
  expect(edge.hub.contents).toEqual([1, 2]);
});

test('I4: a message larger than the limit is refused at its sender and harms nobody else', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect({ maxMessageBytes: 4096 });
  await expect(client.send(draft('x'.repeat(5000)))).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
  await client.send(draft('small'));
  expect(edge.hub.contents).toEqual(['small']);
  expect(edge.hub.sessions).toHaveLength(1);
});

test('I15: a frame that is no message ends the link, and the client comes back', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const down = next(client, 'disconnected');
  const back = next(client, 'connected');
  edge.hub.session.socket.send('null');
  expect((await down).reason?.name).toBe('ProtocolError');
  await back;
  await client.send(draft(1));
});

test('close rejects what was not acknowledged, tells the hub, and leaves no timer behind', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  const client = await edge.connect({}, { clock });
  edge.hub.acknowledge = 'never';
  const failed = expect(client.send(draft(1))).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
  const code = new Promise((resolve) => edge.hub.session.socket.once('close', resolve));
  await client.close();
  await failed;
  expect(await code).toBe(closeReason('Normal').code);
  await expect(client.send(draft(2))).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
  expect(clock.pending).toBe(0);
});
