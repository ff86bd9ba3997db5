import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { isSallyportError } from '../../../../src/core/errors.ts';
import { closeReason } from '../../../../src/protocol/close-reasons.ts';
import { encodeFrame, FRAME_TYPES } from '../../../../src/protocol/codec-framed.ts';
import { createMessage } from '../../../../src/protocol/message.ts';
import { encodeHello } from '../../../../src/protocol/quic-control.ts';
import {
  askForSession,
  capsule,
  startWebTransport,
  varint,
} from '../../../support/edges/webtransport-rig.ts';
import { eventually, settled } from '../../../support/eventually.ts';
import { mintEdge } from '../../../support/pki/pki.ts';

test('an edge with a trusted certificate says hello, is welcomed, and messages flow both ways', async () => {
  await using hub = await startWebTransport();
  const edge = await hub.connect('edge-1');
  const reply = await edge.echo({ hello: 'hub' }, 'default/podstatus/p-1');
  expect(reply.content).toEqual({ hello: 'hub' });
  expect(hub.acceptor.received[0]!.node).toBe('edge-1');
  const [connection] = hub.acceptor.connections;
  expect(connection!.remoteAddress).toBe('127.0.0.1');
  expect(connection!.projectId).toBe('p');
  expect(connection!.agent).toBe('test/1');
  expect(connection!.stats()).toMatchObject({ bytesBuffered: 0, rttMs: expect.any(Number) });
});

test('a message of the largest size passes in both directions', async () => {
  await using hub = await startWebTransport();
  const edge = await hub.connect('edge-1');
  const content = 'x'.repeat(15 * 1024 * 1024);
  expect((await edge.echo(content)).content).toHaveLength(content.length);
});

test('the hub closes with a reason, and the edge is told code, name and hint', async () => {
  await using hub = await startWebTransport();
  const edge = await hub.connect('edge-1');
  hub.acceptor.connections[0]!.close(closeReason('TakenOver', 1234));
  expect(await edge.closed).toMatchObject({ name: 'TakenOver', reconnectAfterMs: 1234 });
  expect(hub.acceptor.closed).toMatchObject([{ reason: { name: 'TakenOver' } }]);
});

test('the edge closes with a reason, and the hub is told', async () => {
  await using hub = await startWebTransport();
  const edge = await hub.connect('edge-1');
  edge.link.close(closeReason('Normal'));
  await eventually('the hub saw the end', () => hub.acceptor.closed.length === 1);
  expect(hub.acceptor.closed[0]!.reason?.name).toBe('Normal');
});

test('I4: a message over the limit ends the connection with MessageTooLarge when its header is seen', async () => {
  await using hub = await startWebTransport({ maxMessageBytes: 64 * 1024 });
  const { stream } = await session(hub, 'edge-1');
  const header = Buffer.from(encodeFrame(FRAME_TYPES.message, new Uint8Array())).fill(0xff, 6, 10);
  stream.write(capsule(STREAM, [1, ...header]));
  await eventually('it was closed', () => hub.acceptor.closed.length === 1);
  expect(hub.acceptor.closed[0]!.reason?.name).toBe('MessageTooLarge');
});

test('I2: a connection without a session, and a session without a hello, end at their deadline', async () => {
  await using hub = await startWebTransport({ limits: { requestTimeoutMs: 150 } });
  const edge = await mintEdge(hub.ca, 'edge-1');
  const refused = await askForSession(hub.port, { path: '/', method: 'GET' });
  const silent = await askForSession(hub.port, { path: '/edge', edge });
  expect([refused.status, silent.status]).toEqual([406, 200]);
  await eventually('both were ended', () => refused.connection.destroyed && silent.connection.destroyed);
  expect(hub.acceptor.connections).toEqual([]);
});

test('G2: messages before the hello reach nobody, and end the session', async () => {
  await using hub = await startWebTransport();
  const edge = await mintEdge(hub.ca, 'edge-1');
  const { stream } = await askForSession(hub.port, { path: '/edge', edge });
  stream.write(capsule(STREAM, [1, ...encodeFrame(FRAME_TYPES.ping, new Uint8Array())]));
  await eventually('it was ended', () => stream.destroyed || stream.readableEnded);
  expect([hub.acceptor.received, hub.acceptor.alive]).toEqual([[], 0]);
});

const hostile: [string, () => Buffer][] = [
  ['a datagram nobody would read', () => capsule(0x00, [1, 2, 3])],
  ['an announced gigabyte', () => Buffer.concat([varint(0x2843), varint(2 ** 30 - 1)])],
  ['a stream number of the server', () => capsule(STREAM, [0, 1, 2, 3])],
  ['a second stream', () => capsule(STREAM, [5, 1, 2, 3])],
  ['a unidirectional stream', () => capsule(STREAM, [3, 1, 2, 3])],
  ['an unknown capsule', () => capsule(0x1234567, [])],
  ['a stream capsule without a stream', () => capsule(STREAM, [])],
  ['noise', () => Buffer.concat([varint(0x3fff), randomBytes(4096)])],
];
test.each(hostile)('I15: %s ends that session alone', async (_, bytes) => {
  await using hub = await startWebTransport();
  const good = await hub.connect('edge-2');
  const { stream } = await session(hub, 'edge-1');
  stream.write(bytes());
  await eventually('the session ended', () => hub.acceptor.closed.length === 1);
  expect(hub.acceptor.closed).toMatchObject([{ node: 'edge-1', reason: { name: 'ProtocolError' } }]);
  expect((await good.echo(1)).content).toBe(1);
});

test('I15: capsules cut anywhere are put together again', async () => {
  await using hub = await startWebTransport();
  const edge = await mintEdge(hub.ca, 'edge-1');
  const { stream } = await askForSession(hub.port, { path: '/edge', edge });
  for (const byte of capsule(STREAM, [1, ...hello('edge-1')])) {
    stream.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually('it was welcomed', () => hub.acceptor.connections.length === 1);
});

test('a connection carries one session: a second is refused, the first lives', async () => {
  await using hub = await startWebTransport();
  const { connection } = await session(hub, 'edge-1');
  const second = connection.request({
    ':method': 'CONNECT',
    ':protocol': 'webtransport',
    ':scheme': 'https',
    ':path': '/edge',
  });
  const status = await new Promise((resolve) =>
    second.once('response', (headers) => resolve(headers[':status'])),
  );
  expect(status).toBe(409);
  expect(hub.acceptor.connections).toHaveLength(1);
});

test('what is no WebTransport session at the path is refused politely', async () => {
  await using hub = await startWebTransport();
  const edge = await mintEdge(hub.ca, 'edge-1');
  const get = await askForSession(hub.port, { path: '/edge', method: 'GET', edge });
  const elsewhere = await askForSession(hub.port, { path: '/elsewhere', edge });
  expect([get.status, elsewhere.status]).toEqual([406, 404]);
});

test('G1: header and hello both have to name the node of the certificate', async () => {
  await using hub = await startWebTransport();
  const edge = await mintEdge(hub.ca, 'attacker');
  const header = await askForSession(hub.port, { path: '/edge', edge, headers: { node_id: 'victim' } });
  expect([header.status, header.headers['sallyport-reason']]).toEqual([403, 'node-mismatch']);
  const { stream } = await askForSession(hub.port, { path: '/edge', edge });
  stream.write(capsule(STREAM, [1, ...hello('victim')]));
  await eventually('it was ended', () => stream.destroyed || stream.readableEnded);
  expect(hub.acceptor.connections).toEqual([]);
});

test('I11: an edge the hub does not admit is told why and when to come back', async () => {
  await using hub = await startWebTransport();
  hub.acceptor.admission = () => ({
    ok: false,
    status: 503,
    close: closeReason('TryAgainLater'),
    detail: 'the hub has reached its limit of 1 nodes',
    retryAfterMs: 5_000,
  });
  const error = await hub.connect('edge-1').catch((cause: unknown) => cause);
  expect(isSallyportError(error, 'CONNECT_REFUSED')).toBe(true);
  expect(error).toMatchObject({ details: { reason: 'TryAgainLater', retryAfterMs: 5_000 } });
});

test('I6: an edge that takes nothing is closed as a slow consumer, and what waits for it is bounded', async () => {
  await using hub = await startWebTransport({ limits: { writeTimeoutMs: 300 } });
  const { stream } = await session(hub, 'edge-1');
  stream.pause();
  const [connection] = hub.acceptor.connections;
  const content = 'x'.repeat(1024 * 1024);
  const sending = Array.from({ length: 16 }, (_, index) =>
    connection!.send(message(`m-${index}`, content)).then(
      () => 'sent',
      () => 'refused',
    ),
  );
  await eventually('it was closed', () => hub.acceptor.closed.length === 1);
  expect(hub.acceptor.closed[0]!.reason?.name).toBe('SlowConsumer');
  expect(await Promise.all(sending)).toContain('refused');
});

test('an edge is read no further while the hub has as many of its messages as it may', async () => {
  await using hub = await startWebTransport({ maxPendingUpstream: 4 });
  const edge = await hub.connect('edge-1');
  let free = () => {};
  hub.acceptor.echo = false;
  hub.acceptor.busy = new Promise((resolve) => {
    free = resolve;
  });
  const content = 'x'.repeat(256 * 1024);
  const sent = Array.from({ length: 64 }, (_, index) => edge.link.send(message(`m-${index}`, content)));
  await eventually('four were taken', () => hub.acceptor.received.length === 4);
  const [connection] = hub.acceptor.connections;
  let others = 0;
  const read = await settled(
    () => connection!.stats().bytesReceived,
    () => hub.connect(`other-${others++}`),
  );
  // The window of the stream, what HTTP/2 holds, and a chunk in hand: not the 16 MiB the edge has.
  expect(read).toBeLessThan(4 * 1024 * 1024);
  free();
  hub.acceptor.busy = undefined;
  await Promise.all(sent);
  await eventually('all arrived', () => hub.acceptor.received.length === 64);
});

test('says whether HTTP/3 is served, and why not', async () => {
  await using hub = await startWebTransport();
  expect(hub.listener.describe()).toMatch(/^HTTP\/2 (and HTTP\/3|only: @fails-components\/.+ (is|cannot))/);
});

test('a stop ends openings with the reason, leaves sessions to the hub, and the signal ends the rest', async () => {
  await using hub = await startWebTransport();
  const edge = await hub.connect('edge-1');
  const opening = await askForSession(hub.port, { path: '/edge', edge: await mintEdge(hub.ca, 'edge-2') });
  const force = new AbortController();
  await hub.listener.stop(closeReason('Draining'), force.signal);
  await eventually('the opening ended', () => opening.stream.destroyed || opening.stream.readableEnded);
  expect((await edge.echo('still here')).content).toBe('still here');
  force.abort();
  expect(await edge.closed).toBeUndefined();
});

const STREAM = 0x190b4d3b;
const hello = (node: string) => encodeHello({ node_id: node, project_id: 'p' });
const message = (id: string, content: unknown) =>
  createMessage({ source: 'test', operation: 'update', resource: id }, content, { now: 0, id });

/** A session that speaks raw capsules, welcomed as its node. */
async function session(hub: Awaited<ReturnType<typeof startWebTransport>>, node: string) {
  const asked = await askForSession(hub.port, { path: '/edge', edge: await mintEdge(hub.ca, node) });
  const before = hub.acceptor.connections.length;
  asked.stream.write(capsule(STREAM, [1, ...hello(node)]));
  await eventually('it was welcomed', () => hub.acceptor.connections.length > before);
  return asked;
}
