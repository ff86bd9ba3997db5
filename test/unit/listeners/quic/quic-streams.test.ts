import { expect, test } from 'vitest';
import { closeReason } from '../../../../src/protocol/close-reasons.ts';
import {
  encodeFrame,
  encodeFramed,
  FRAME_HEADER_BYTES,
  FRAME_TYPES,
} from '../../../../src/protocol/codec-framed.ts';
import { createMessage } from '../../../../src/protocol/message.ts';
import { openRaw, rawQuic, sayHello, startQuic } from '../../../support/edges/quic-rig.ts';
import { UdpRelay } from '../../../support/edges/udp-relay.ts';
import { eventually } from '../../../support/eventually.ts';
import { mintEdge } from '../../../support/pki/pki.ts';

const make = (content: unknown, resource = '') =>
  createMessage({ source: 'edged', operation: 'update', resource }, content, { now: 1 });

test('a large message does not hold up small ones, in either direction', async () => {
  await using hub = await startQuic();
  const edge = await hub.connect('edge-1');
  const large = make('x'.repeat(5_000_000), 'default/configmap/large');
  await edge.link.send(large);
  const returned: string[] = [];
  const replies = [
    edge.reply(large.header.msg_id).then(() => returned.push('large')),
    ...[1, 2, 3].map((i) => edge.echo(i, `default/pod/${i}`).then(() => returned.push('small'))),
  ];
  await Promise.all(replies);
  expect(returned).toEqual(['small', 'small', 'small', 'large']);
});

test('messages about one resource stay in order, large and small mixed', async () => {
  await using hub = await startQuic();
  const edge = await hub.connect('edge-1');
  const sent = Array.from({ length: 20 }, (_, i) =>
    make({ i, filler: 'x'.repeat(i % 3 === 0 ? 200_000 : 10) }, 'default/configmap/same'),
  );
  for (const message of sent) void edge.link.send(message);
  await edge.reply(sent.at(-1)!.header.msg_id);
  const ids = sent.map((message) => message.header.msg_id);
  expect(hub.acceptor.received.map(({ message }) => message.header.msg_id)).toEqual(ids);
  expect(edge.messages.map((message) => message.header.msg_id)).toEqual(ids);
});

test('one message a stream, five hundred streams one after the other', async () => {
  await using hub = await startQuic();
  hub.acceptor.echo = false;
  const pair = await mintEdge(hub.ca, 'edge-1');
  const { session } = await rawQuic(hub.port, { ca: hub.ca, pair });
  await sayHello(session, 'edge-1');
  for (let i = 0; i < 500; i++) {
    const stream = openRaw(session);
    stream.end(encodeFramed(make(i)));
    await new Promise((resolve) => stream.once('close', resolve));
  }
  await eventually('all arrived', () => hub.acceptor.received.length === 500);
});

test('I9: pings are answered while the hub takes no messages, and waiting messages are delivered later', async () => {
  await using hub = await startQuic({ maxPendingUpstream: 2 });
  hub.acceptor.echo = false;
  const gate = Promise.withResolvers<void>();
  hub.acceptor.busy = gate.promise;
  const { session } = await rawQuic(hub.port, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  const { control } = await sayHello(session, 'edge-1');
  const stream = openRaw(session);
  for (let i = 0; i < 50; i++) stream.write(encodeFramed(make(i)));
  await eventually('two are taken', () => hub.acceptor.received.length === 2);
  const pong = new Promise<Buffer>((resolve) => control.once('data', resolve));
  control.write(encodeFrame(FRAME_TYPES.ping, new Uint8Array()));
  expect((await pong)[4]).toBe(FRAME_TYPES.pong);
  await eventually('what waits and the ping are signs of life', () => hub.acceptor.alive === 49);
  expect(hub.acceptor.received).toHaveLength(2);
  hub.acceptor.busy = undefined;
  gate.resolve();
  await eventually('the rest is delivered', () => hub.acceptor.received.length === 50);
  expect(hub.acceptor.received.map(({ message }) => message.content)).toEqual([...Array(50).keys()]);
});

test('an edge that sends without end to a hub that takes nothing is closed at a bound', async () => {
  await using hub = await startQuic({ maxPendingUpstream: 1, maxMessageBytes: 1024 * 1024 });
  hub.acceptor.echo = false;
  hub.acceptor.busy = new Promise(() => {});
  const { session, ended } = await rawQuic(hub.port, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  await sayHello(session, 'edge-1');
  const stream = openRaw(session);
  const frame = encodeFramed(make('x'.repeat(100_000)));
  for (let i = 0; i < 60; i++) stream.write(frame);
  expect(await ended).toMatchObject({ errorCode: closeReason('TryAgainLater').code });
});

test('I4: a message declared larger than the limit ends the connection before its bytes are kept', async () => {
  await using hub = await startQuic({ maxMessageBytes: 1024 * 1024 });
  const good = await hub.connect('good');
  const { session, ended } = await rawQuic(hub.port, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  await sayHello(session, 'edge-1');
  const header = Buffer.from(encodeFrame(FRAME_TYPES.message, new Uint8Array()));
  header.writeUInt32BE(1024 * 1024 + 1, 6);
  openRaw(session).write(header);
  expect(await ended).toMatchObject({ errorCode: 1009, reason: expect.stringMatching(/^MessageTooLarge/) });
  await good.echo('fine');
});

test('I4: many incomplete messages on many streams are bounded together', async () => {
  await using hub = await startQuic({ maxMessageBytes: 1024 * 1024 });
  const { session, ended } = await rawQuic(hub.port, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  await sayHello(session, 'edge-1');
  const frame = encodeFramed(make('x'.repeat(900_000)));
  for (let i = 0; i < 4; i++) openRaw(session).write(frame.subarray(0, 800_000));
  expect(await ended).toMatchObject({ errorCode: 1009 });
  expect(hub.acceptor.received).toEqual([]);
});

test('I15: a payload that is no message ends that connection only', async () => {
  await using hub = await startQuic();
  const good = await hub.connect('good');
  const pair = await mintEdge(hub.ca, 'edge-1');
  for (const payload of [
    new Uint8Array(),
    Buffer.from('null'),
    Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x0f]),
  ]) {
    const { session, ended } = await rawQuic(hub.port, { ca: hub.ca, pair });
    await sayHello(session, 'edge-1');
    openRaw(session).write(encodeFrame(FRAME_TYPES.message, payload));
    expect(await ended).toMatchObject({ errorCode: closeReason('ProtocolError').code });
  }
  await good.echo('fine');
});

test('I5: a stream left silent in the middle of a message is reset, others proceed', async () => {
  await using hub = await startQuic({ streamTimeoutMs: 300 });
  const { session } = await rawQuic(hub.port, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  await sayHello(session, 'edge-1');
  const silent = openRaw(session);
  const reset = new Promise((resolve) => silent.once('close', resolve));
  silent.write(encodeFramed(make('never complete')).subarray(0, FRAME_HEADER_BYTES + 3));
  const live = openRaw(session);
  live.write(encodeFramed(make('first')));
  await reset;
  live.write(encodeFramed(make('second')));
  await eventually('the other stream proceeds', () => hub.acceptor.received.length === 2);
  expect(hub.acceptor.connections).toHaveLength(1);
});

test('I6: an edge that acknowledges nothing is closed when the write time-out has passed', async () => {
  await using hub = await startQuic({ writeTimeoutMs: 500 });
  hub.acceptor.echo = false;
  await using relay = await UdpRelay.start({ targetPort: hub.port });
  await hub.connect('edge-1', { port: relay.port });
  const [connection] = hub.acceptor.connections;
  relay.isDeaf = true;
  const sends = Array.from({ length: 40 }, () => connection!.send(make('x'.repeat(1_000_000))));
  const results = await Promise.allSettled(sends);
  expect(results.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'SESSION_CLOSED' } });
  expect(hub.acceptor.closed[0]!.reason).toMatchObject({ name: 'SlowConsumer' });
});

test('G3: of many connections of one node within a moment each ends by itself, and the last lives', async () => {
  await using hub = await startQuic();
  const pair = await mintEdge(hub.ca, 'edge-1');
  const edges = await Promise.all(Array.from({ length: 5 }, () => hub.connect('edge-1', { pair })));
  expect(hub.acceptor.connections).toHaveLength(5);
  for (const edge of edges.slice(0, 4)) edge.link.close(closeReason('Normal'));
  await eventually('four have ended', () => hub.acceptor.connections.length === 1);
  await edges[4]!.echo('the last');
});

test('the close reason of the hub, its hint included, reaches the edge', async () => {
  await using hub = await startQuic();
  const edge = await hub.connect('edge-1');
  hub.acceptor.connections[0]!.close(closeReason('Draining', 1234));
  expect(await edge.closed).toEqual(closeReason('Draining', 1234));
});

test('an edge that leaves says why', async () => {
  await using hub = await startQuic();
  const polite = await hub.connect('polite');
  polite.link.close(closeReason('Normal'));
  await eventually('polite has left', () => hub.acceptor.closed.length === 1);
  expect(hub.acceptor.closed[0]!.reason).toMatchObject({ name: 'Normal' });
});

test('I7: an edge whose datagrams no longer arrive is given up by the transport, without a reason', async () => {
  await using hub = await startQuic({ keepaliveTimeoutMs: -4_500 });
  await using relay = await UdpRelay.start({ targetPort: hub.port });
  await hub.connect('edge-1', { port: relay.port });
  relay.isDeaf = true;
  await eventually('the connection is given up', () => hub.acceptor.closed.length === 1);
  expect(hub.acceptor.closed[0]!.reason).toBeUndefined();
});
