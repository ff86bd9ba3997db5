import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { WebSocket } from 'ws';
import { systemClock } from '../../../../src/core/clock.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { DEFAULT_TLS_GROUPS } from '../../../../src/core/tls-groups.ts';
import { PeerGate } from '../../../../src/identity/peer-gate.ts';
import { RejectionLog } from '../../../../src/listeners/rejection-log.ts';
import type { WebSocketListenerOptions } from '../../../../src/listeners/websocket/options.ts';
import { WebSocketListener } from '../../../../src/listeners/websocket/websocket-listener.ts';
import { closeReason } from '../../../../src/protocol/close-reasons.ts';
import { DEFAULT_JSON_LIMITS } from '../../../../src/protocol/json-scan.ts';
import { createMessage } from '../../../../src/protocol/message.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { RecordingAcceptor } from '../../../fakes/recording-acceptor.ts';
import { capturedLog } from '../../../support/captured-log.ts';
import { upgradeRequest } from '../../../support/edges/raw-edge.ts';
import { clientOptions, readAll, tlsClient } from '../../../support/edges/tls-client.ts';
import { type EdgeSocketOptions, edgeSocket } from '../../../support/edges/websocket-client.ts';
import { eventually } from '../../../support/eventually.ts';
import { bundleOf, FixedSource } from '../../../support/pki/fixed-source.ts';
import { mintCa, mintEdge, mintServer, type Pair } from '../../../support/pki/pki.ts';

const PROJECT = 'e632aba927ea4ac2b575ec1603d56f10';
let ca: Pair;
let hub: Pair;
let edge: Pair;
const cleanUp: (() => unknown)[] = [];

beforeAll(async () => {
  ca = await mintCa();
  hub = await mintServer(ca);
  edge = await mintEdge(ca, 'edge-1');
});
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

interface Setup {
  readonly options?: Partial<Omit<WebSocketListenerOptions, 'limits'>>;
  readonly limits?: Partial<WebSocketListenerOptions['limits']>;
  readonly clock?: ManualClock;
  readonly allowLegacy?: boolean;
}

async function start({ options = {}, limits = {}, clock, allowLegacy = false }: Setup = {}) {
  const source = new FixedSource(bundleOf({ ca, server: hub }));
  const log = capturedLog();
  const metrics = createMetrics({ process: false });
  const acceptor = new RecordingAcceptor();
  const rejections = new RejectionLog({ clock: systemClock });
  // Certificates are minted for now, so the gate looks at the real time also when the listener's clock
  // stands.
  const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
    allowLegacy,
    legacyNodes: {},
  }));
  const listener = new WebSocketListener(
    { source, gate, acceptor, clock: clock ?? systemClock, log, metrics, rejections },
    () => ({
      host: '127.0.0.1',
      port: 0,
      tls: { minVersion: 'TLSv1.2', groups: DEFAULT_TLS_GROUPS },
      ...DEFAULT_JSON_LIMITS,
      maxMessageBytes: 1 << 20,
      maxPendingUpstream: 4,
      ...options,
      limits: {
        connections: 1_000,
        connectionsPerIp: 1_000,
        handshakes: 100,
        handshakeTimeoutMs: 10_000,
        requestTimeoutMs: 10_000,
        writeTimeoutMs: 30_000,
        proxyProtocolFrom: [],
        ...limits,
      },
    }),
  );
  await listener.start();
  cleanUp.push(() => listener.stop(closeReason('Draining'), AbortSignal.abort()));
  const { port } = listener.address();
  const attempt = (as: Partial<EdgeSocketOptions> = {}) =>
    edgeSocket(port, { ca, edge, node: 'edge-1', ...as });
  const join = async (as: Partial<EdgeSocketOptions> = {}) => {
    const answer = await attempt(as);
    if (!answer.open) throw new Error(`refused: ${answer.status} ${answer.reason} ${answer.body}`);
    cleanUp.push(() => answer.socket.terminate());
    const count = acceptor.accepted.length;
    const record = acceptor.accepted[count - 1]!;
    return { socket: answer.socket, record };
  };
  return { listener, port, acceptor, log, metrics, rejections, attempt, join, source };
}

const message = (content: unknown = 'x') =>
  createMessage({ source: 'edged', group: 'resource', operation: 'update', resource: 'a/b' }, content, {
    now: 1,
  });
const closeOf = async (socket: WebSocket) => {
  const [code, text] = (await once(socket, 'close')) as [number, Buffer];
  return { code, text: text.toString() };
};

describe('before the upgrade', () => {
  test('takes path and headers as EdgeCore sends them, and no subprotocol', async () => {
    const { acceptor, join } = await start();
    const { socket } = await join({ headers: { 'User-Agent': 'sdk/1' } });
    expect(socket.protocol).toBe('');
    expect(socket.extensions).toBe('');
    expect(acceptor.accepted[0]!.connection).toMatchObject({
      transport: 'websocket',
      projectId: PROJECT,
      agent: 'sdk/1',
      remoteAddress: '127.0.0.1',
      peer: { nodeName: 'edge-1', legacy: false },
    });
  });

  const mismatches: [string, Partial<EdgeSocketOptions>][] = [
    ['another node in the header', { headers: { node_id: 'victim' } }],
    ['another node in the path', { path: `/${PROJECT}/victim/events` }],
    ['another node in both', { node: 'victim' }],
    ['the name in upper case', { headers: { node_id: 'EDGE-1' } }],
    ['two headers, the own first', { headers: { node_id: ['edge-1', 'victim'] } }],
    ['two headers, the own last', { headers: { node_id: ['victim', 'edge-1'] } }],
    ['two headers, the same twice', { headers: { node_id: ['edge-1', 'edge-1'] } }],
    ['a second header in other case', { headers: { Node_ID: 'victim' } }],
    ['a list', { headers: { node_id: 'edge-1,victim' } }],
    ['whitespace within', { headers: { node_id: 'edge-1 victim' } }],
    ['an empty header', { headers: { node_id: '' } }],
  ];
  test.each(mismatches)('G1: %s is 403 before the upgrade, with the reason', async (_, as) => {
    const { acceptor, attempt, metrics } = await start();
    const answer = await attempt(as);
    expect(answer).toMatchObject({ open: false, status: 403, reason: 'node-mismatch' });
    expect(answer.open ? '' : answer.body).toMatch(/^[^\n]+\n$/);
    expect(acceptor.accepted).toHaveLength(0);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="node-mismatch".*\} 1/);
  });

  test.each([
    '/',
    `/${PROJECT}/edge-1/events/`,
    `/${PROJECT}/edge-1/events?x=1`,
    `//${PROJECT}/edge-1/events`,
    `/${PROJECT}/%65dge-1/events`,
    `/${PROJECT}/x/edge-1/events`,
  ])('G1: the path %s is 404', async (path) => {
    const { attempt, acceptor } = await start();
    expect(await attempt({ path })).toMatchObject({ status: 404, reason: 'protocol' });
    expect(acceptor.accepted).toHaveLength(0);
  });

  test('a project_id that differs from the path is 400', async () => {
    const { attempt } = await start();
    expect(await attempt({ headers: { project_id: 'other' } })).toMatchObject({ status: 400 });
  });

  test('F3: an expired certificate is 401, and told and logged as "node X, expired D days ago"', async () => {
    const { attempt, log } = await start();
    const ago = (days: number) => new Date(Date.now() - days * 86_400_000 - 1_000);
    const old = await mintEdge(ca, 'edge-1', { notBefore: ago(9), notAfter: ago(2) });
    expect(await attempt({ edge: old })).toMatchObject({
      status: 401,
      reason: 'expired',
      body: expect.stringMatching(/^node edge-1, expired 2 days ago.*clock of this hub.*\n$/),
    });
    expect(log.lines.find(({ level }) => level === 'warn')?.fields).toMatchObject({
      reason: 'expired',
      node: 'edge-1',
    });
  });

  test('I14: a node with a stale CA that retries is one log line a minute, and a counter', async () => {
    const clock = new ManualClock();
    const { attempt, log, metrics } = await start({ clock });
    const stale = await mintEdge(await mintCa(), 'edge-1');
    for (let n = 0; n < 5; n++)
      expect(await attempt({ edge: stale })).toMatchObject({ reason: 'unknown-ca' });
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    await clock.advance(61_000);
    await attempt({ edge: stale });
    const warnings = log.lines.filter(({ level }) => level === 'warn');
    expect(warnings).toHaveLength(2);
    expect(warnings[1]!.fields.suppressed).toBe(4);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="unknown-ca".*\} 6/);
  });

  test('D6: with allowLegacy the header node_id is believed for certificates that name no node', async () => {
    const { join, acceptor } = await start({ allowLegacy: true });
    await join({ node: 'edge-5', edge: await mintEdge(ca, 'x', { subject: 'O=KubeEdge,CN=kubeedge.io' }) });
    expect(acceptor.accepted[0]!.connection.peer).toMatchObject({ nodeName: 'edge-5', legacy: true });
  });

  test('I11: who the hub does not admit is answered with status and Retry-After, and the socket closed', async () => {
    const { attempt, acceptor, metrics } = await start();
    acceptor.admission = {
      ok: false,
      status: 503,
      close: closeReason('TryAgainLater'),
      detail: 'the hub has reached its limit',
      retryAfterMs: 4_200,
    };
    expect(await attempt()).toEqual({
      open: false,
      status: 503,
      reason: 'TryAgainLater',
      retryAfter: '5',
      body: 'the hub has reached its limit\n',
    });
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
    expect(acceptor.accepted).toHaveLength(0);
  });

  test('G2: frames sent along with a refused upgrade reach nobody, and the socket is closed', async () => {
    const { port, acceptor } = await start();
    const socket = await tlsClient(clientOptions(port, ca, edge));
    const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x7b, 0x7d]);
    socket.write(
      `GET /${PROJECT}/victim/events HTTP/1.1\r\nHost: x\r\nnode_id: victim\r\nConnection: Upgrade\r\n` +
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    for (let n = 0; n < 10; n++) socket.write(frame);
    const answer = await readAll(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(answer).toContain('Sallyport-Reason: node-mismatch\r\n');
    expect(acceptor.accepted).toHaveLength(0);
  });

  test('a refused peer that keeps its socket open is cut off after a second', async () => {
    const clock = new ManualClock();
    const { port, metrics } = await start({ clock });
    const socket = await tlsClient({ ...clientOptions(port, ca), allowHalfOpen: true } as never);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
    await once(socket, 'data');
    expect(await metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 1/);
    await clock.advance(2_000);
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
  });

  test('offers neither compression nor a subprotocol to who asks for them', async () => {
    const { port } = await start();
    const socket = await tlsClient(clientOptions(port, ca, edge));
    socket.write(
      `GET /${PROJECT}/edge-1/events HTTP/1.1\r\nHost: x\r\nnode_id: edge-1\r\nConnection: Upgrade\r\n` +
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n' +
        'Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n',
    );
    const [data] = (await once(socket, 'data')) as [Buffer];
    expect(data.toString()).toMatch(/^HTTP\/1\.1 101 /);
    expect(data.toString()).not.toMatch(/sec-websocket-(protocol|extensions)/i);
    socket.destroy();
  });

  test('a plain GET gets 426 in words, which is no rejection, and 401 without certificate', async () => {
    const { port, rejections, metrics } = await start();
    for (const [pair, status] of [
      [edge, '426 Upgrade Required'],
      [undefined, '401 Unauthorized'],
    ] as const) {
      const socket = await tlsClient(clientOptions(port, ca, pair));
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      const answer = await readAll(socket);
      expect(answer).toContain(`HTTP/1.1 ${status}\r\n`);
      expect(answer).toMatch(/\r\n\r\n[^\n]+\n$/);
    }
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
    expect(rejections.list().map(({ reason }) => reason)).toEqual(['no-certificate']);
  });

  test('I2: what is no request, or one too many, gets one answer in words, is counted, and reaches nobody', async () => {
    const { port, metrics, acceptor } = await start();
    const good = `GET /${PROJECT}/edge-1/events HTTP/1.1\r\nHost: x\r\nnode_id: edge-1\r\n`;
    const upgrade =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
    for (const [sent, status] of [
      ['HELO hub\r\n', '400 Bad Request'],
      [`${good}${upgrade}Content-Length: 4\r\n\r\nGET `, '400 Bad Request'],
      [`${good}${upgrade}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, '400 Bad Request'],
      [`${good}${upgrade.replace('AA==', 'AA')}\r\n`, '400 Bad Request'],
      [`${good}${upgrade.replace('13', '8')}\r\n`, '426 Upgrade Required'],
      ['DELETE / HTTP/1.1\r\nHost: x\r\n\r\n', '405 Method Not Allowed'],
      [`${good}X: ${'a'.repeat(20_000)}\r\n\r\n`, '431 Request Header Fields Too Large'],
      [`${good}\r\n${good}${upgrade}\r\n`, '426 Upgrade Required'],
    ] as const) {
      const socket = await tlsClient(clientOptions(port, ca, edge));
      socket.write(sent);
      const answer = await readAll(socket);
      expect(answer.split('HTTP/1.1 ').slice(1), sent).toHaveLength(1);
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status}\r\n(.+\r\n)+\r\n[^\n]+\n$`));
    }
    expect(acceptor.accepted).toHaveLength(0);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="protocol".*\} 7/);
  });

  test('a client that sends the first bytes of its session along with the request loses none', async () => {
    const { port, acceptor } = await start();
    const socket = await tlsClient(clientOptions(port, ca, edge));
    const text = JSON.stringify(message());
    const frame = Buffer.concat([Buffer.from([0x81, 0xfe, 0, text.length, 0, 0, 0, 0]), Buffer.from(text)]);
    socket.write(Buffer.concat([Buffer.from(upgradeRequest('edge-1')), frame]));
    await eventually('the message', () => acceptor.accepted[0]?.messages.length === 1);
    socket.destroy();
  });

  test('I2: an upgrade that trickles in is ended by its deadline', async () => {
    const { port, metrics } = await start({ limits: { requestTimeoutMs: 500 } });
    const socket = await tlsClient(clientOptions(port, ca, edge));
    socket.write(`GET /${PROJECT}/edge-1/events HTTP/1.1\r\n`);
    const drip = setInterval(() => socket.write('a'), 50);
    expect(await readAll(socket)).toContain('408 Request Timeout');
    clearInterval(drip);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="timeout".*\} 1/);
  });

  test('A10: at the most verbose level no log line holds a key or certificate', async () => {
    const { attempt, join, log } = await start();
    await join();
    await attempt({ edge: await mintEdge(await mintCa(), 'edge-1') });
    await attempt({ node: 'victim' });
    const text = JSON.stringify(log.lines);
    expect(text).not.toMatch(/BEGIN|PRIVATE/);
    expect(text).not.toContain(hub.key.split('\n')[1]);
  });
});

describe('messages', () => {
  test('O6: the zero message, with which EdgeCore says goodbye, ends the session as an orderly end', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    const closed = once(socket, 'close');
    socket.send('{"header":{"msg_id":"","timestamp":0},"route":{},"content":null}\n');
    const [code] = await closed;
    expect(code).toBe(1000);
    expect(record.messages).toEqual([]);
    expect(record.closes.map((reason) => reason?.name)).toEqual(['Normal']);
  });

  test('go both ways byte for byte, a newline at the end of ours', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    const up = message({ deep: [1, null, 'ü'] });
    socket.send(`${JSON.stringify(up)}\n`);
    await eventually('a message', () => record.messages.length === 1);
    expect(JSON.stringify(record.messages[0])).toBe(JSON.stringify(up));
    expect(record.sizes[0]).toBe(Buffer.byteLength(JSON.stringify(up)) + 1);
    const received = once(socket, 'message');
    const down = message('down');
    await record.connection.send(down);
    const [data, isBinary] = (await received) as [Buffer, boolean];
    expect(isBinary).toBe(false);
    expect(data.toString()).toBe(`${JSON.stringify(down)}\n`);
    expect(record.connection.stats()).toMatchObject({
      bytesReceived: record.sizes[0],
      bytesSent: data.length,
    });
  });

  const bad: [string, string | Buffer, object, number][] = [
    ['a binary frame', Buffer.from('{}'), { binary: true }, 1003],
    ['no JSON', 'hello', {}, 1002],
    ['null', 'null', {}, 1002],
    ['an array', '[]', {}, 1002],
    ['wrong types', '{"header":{"msg_id":1},"route":{}}', {}, 1002],
    ['deep nesting', '['.repeat(100_000), {}, 1002],
    ['__proto__ instead of a header', '{"__proto__":{"header":{"msg_id":"a"},"route":{}}}', {}, 1002],
    ['invalid UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), { binary: false }, 1007],
  ];
  test.each(bad)('I15: %s closes only that connection', async (_, data, options, code) => {
    const { join, metrics } = await start();
    const other = await join({ node: 'edge-2', edge: await mintEdge(ca, 'edge-2') });
    const { socket, record } = await join();
    socket.send(data, options);
    expect((await closeOf(socket)).code).toBe(code);
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.messages).toHaveLength(0);
    expect(await metrics.expose()).toMatch(
      /messages_dropped_total\{direction="upstream",reason="[a-z-]+"\} 1/,
    );
    other.socket.send(JSON.stringify(message()));
    await eventually('the other goes on', () => other.record.messages.length === 1);
  });

  test('I15: random bytes instead of frames end only their own connections', async () => {
    const { join, port, acceptor } = await start();
    const good = await join({ node: 'edge-2', edge: await mintEdge(ca, 'edge-2') });
    for (let round = 0; round < 60; round++) {
      const socket = await tlsClient(clientOptions(port, ca, edge));
      socket.write(
        `GET /${PROJECT}/edge-1/events HTTP/1.1\r\nHost: x\r\nnode_id: edge-1\r\nConnection: Upgrade\r\n` +
          'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
      );
      await once(socket, 'data');
      // Half of them begin as a text frame of a client, so that the bytes reach the parts behind the header.
      const begin = round % 2 ? Buffer.from([0x81, 0x80 | (round % 100), 0, 0, 0, 0]) : Buffer.alloc(0);
      socket.end(Buffer.concat([begin, randomBytes(300)]));
    }
    await eventually('all upgraded', () => acceptor.accepted.length === 61);
    await eventually('all ended', () =>
      acceptor.accepted.slice(1).every(({ closes }) => closes.length === 1),
    );
    expect(acceptor.accepted.slice(1).flatMap(({ messages }) => messages)).toEqual([]);
    good.socket.send(JSON.stringify(message()));
    await eventually('the good one goes on', () => good.record.messages.length === 1);
  });

  test('I4: a message over the limit is closed with 1009, declared or in fragments, and memory stays flat', async () => {
    const limit = 1 << 20;
    const { join } = await start({ options: { maxMessageBytes: limit } });
    const declared = await join();
    declared.socket.send(`"${'x'.repeat(limit)}"`);
    expect((await closeOf(declared.socket)).code).toBe(1009);
    const { socket, record } = await join();
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    const part = 'y'.repeat(64 * 1024);
    const closed = closeOf(socket);
    for (let n = 0; n < 64 && socket.readyState === socket.OPEN; n++) {
      await new Promise((resolve) => socket.send(part, { fin: false }, resolve));
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
    }
    expect((await closed).code).toBe(1009);
    expect(record.closes).toMatchObject([{ name: 'MessageTooLarge' }]);
    // Both ends are in this process.
    expect(peak).toBeLessThan(4 * limit);
  });

  test('a handler that throws or rejects closes the connection with 1011 and is logged', async () => {
    const { join, acceptor, log } = await start();
    for (const onMessage of [
      () => {
        throw new Error('broken');
      },
      () => Promise.reject(new Error('broken')),
    ]) {
      acceptor.onMessage = onMessage;
      const { socket } = await join();
      socket.send(JSON.stringify(message()));
      expect((await closeOf(socket)).code).toBe(1011);
    }
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(2);
  });
});

describe('life', () => {
  test('I7, I8: pings are answered with their data, and ping and pong count as life', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    socket.ping('abc');
    const [data] = (await once(socket, 'pong')) as [Buffer];
    expect(data.toString()).toBe('abc');
    expect(record.alive).toBe(1);
    socket.pong();
    await eventually('a pong counted', () => record.alive === 2);
  });

  test('L3: the round trip is measured by a ping now and then; its answer is no sign of life, and nobody is ended for silence', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock });
    const { socket, record } = await join();
    const mute = await join({ client: { autoPong: false } });
    const pings: string[] = [];
    socket.on('ping', (data: Buffer) => void pings.push(data.toString()));
    await clock.advance(1_000);
    await eventually('a round trip', () => record.connection.stats().rttMs !== undefined);
    expect(record.connection.stats().rttMs).toBeLessThanOrEqual(1_000);
    expect(record.alive).toBe(0);
    socket.pong('something else');
    await eventually('a pong of its own counted', () => record.alive === 1);
    await clock.advance(20_000);
    expect(pings).toHaveLength(1);
    await clock.advance(300_000);
    await eventually('another ping', () => pings.length > 1);
    expect(mute.record.connection.stats().rttMs).toBeUndefined();
    expect(mute.record.closes).toEqual([]);
  });

  test('I9: with all consumers blocked it reads no further than the bounds, and life goes on being reported', async () => {
    const clock = new ManualClock();
    const { join, acceptor } = await start({ clock, options: { maxPendingUpstream: 4 } });
    const blocked = Promise.withResolvers<void>();
    acceptor.onMessage = () => blocked.promise;
    const { socket, record } = await join();
    for (let n = 0; n < 6; n++) socket.send(JSON.stringify(message(n)));
    await eventually('two frames beyond the pending ones seen as life', () => record.alive === 2);
    expect(record.messages).toHaveLength(4);
    for (let n = 6; n < 4_000; n++) socket.send(JSON.stringify(message(n)));
    await eventually('the hub stopped reading', () => socket.bufferedAmount > 0 || record.alive > 50);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const seen = record.alive;
    expect(seen).toBeLessThan(2_000);
    expect(record.messages).toHaveLength(4);
    await clock.advance(2_000);
    expect(record.alive).toBeGreaterThan(seen);
    acceptor.onMessage = () => {};
    blocked.resolve();
    await eventually('all of them', () => record.messages.length === 4_000);
    expect(record.messages.map(({ content }) => content)).toEqual(Array.from({ length: 4_000 }, (_, n) => n));
  });

  test('I6: a peer that does not read is ended after the write deadline, waiting senders are told, the queue is bounded', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock, limits: { writeTimeoutMs: 30_000 } });
    const { socket, record } = await join();
    socket.pause();
    const big = message('z'.repeat(500_000));
    let waiting: Promise<void> | undefined;
    for (let n = 0; n < 100 && !waiting; n++) {
      const sent = record.connection.send(big);
      const fast = await Promise.race([sent.then(() => true), new Promise((r) => setTimeout(r, 100, false))]);
      if (!fast) waiting = sent;
    }
    const outcome = expect(waiting).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    await clock.advance(29_000);
    expect(record.closes).toHaveLength(0);
    await clock.advance(32_000);
    await outcome;
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.closes[0]).toMatchObject({ name: 'SlowConsumer' });
    await expect(record.connection.send(big)).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
  });

  test('I6: a caller that never waits cannot buffer without bound', async () => {
    const { join } = await start({ options: { maxMessageBytes: 1 << 18 } });
    const { socket, record } = await join();
    socket.pause();
    const big = message('z'.repeat(200_000));
    const results: Promise<void>[] = [];
    for (let n = 0; n < 200; n++) results.push(record.connection.send(big).catch(() => {}));
    await eventually('closed as slow', () => record.closes.length === 1);
    expect(record.connection.stats().bytesSent).toBeLessThan(200 * 200_000);
    await Promise.all(results);
  });

  test('a slow peer that keeps taking something is not ended', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock, limits: { writeTimeoutMs: 5_000 } });
    const { socket, record } = await join();
    let got = 0;
    socket.on('message', () => got++);
    for (let n = 0; n < 20; n++) {
      await record.connection.send(message('z'.repeat(100_000)));
      await clock.advance(2_000);
    }
    await eventually('all messages', () => got === 20);
    expect(record.closes).toHaveLength(0);
  });
});

describe('the end', () => {
  test('close tells code and reason, and onClose is called once with it', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    const closed = closeOf(socket);
    record.connection.close(closeReason('TakenOver'));
    record.connection.close(closeReason('Disconnected'));
    expect(await closed).toEqual({
      code: 4409,
      text: 'TakenOver: a newer connection of the same node took over',
    });
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.closes).toMatchObject([{ name: 'TakenOver' }]);
  });

  test('a peer that does not answer the close frame is cut off soon', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock });
    const { socket, record } = await join();
    socket.pause();
    record.connection.close(closeReason('Draining', 500));
    await clock.advance(1_000);
    expect(record.closes).toHaveLength(0);
    await clock.advance(1_500);
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.closes).toMatchObject([{ name: 'Draining', reconnectAfterMs: 500 }]);
  });

  test('G2: what a peer sends after it was told to go reaches nobody', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    socket.pause();
    record.connection.close(closeReason('TakenOver'));
    socket.send(JSON.stringify(message()));
    socket.ping();
    socket.resume();
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.messages).toHaveLength(0);
  });

  test('a peer that closes or vanishes is told apart', async () => {
    const { join } = await start();
    const polite = await join();
    polite.socket.close(1000);
    await eventually('onClose', () => polite.record.closes.length === 1);
    expect(polite.record.closes).toMatchObject([{ name: 'Normal' }]);
    const gone = await join();
    gone.socket.terminate();
    await eventually('onClose', () => gone.record.closes.length === 1);
    expect(gone.record.closes).toEqual([undefined]);
  });

  test('I12: 200 connections of one node at once are each handed to the hub, none is lost or leaks', async () => {
    const { join, acceptor, metrics } = await start();
    const all = await Promise.all(Array.from({ length: 200 }, () => join()));
    expect(acceptor.accepted).toHaveLength(200);
    for (const { socket } of all) socket.terminate();
    await eventually('all closed', () => acceptor.accepted.every(({ closes }) => closes.length === 1));
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
  });

  test('stop leaves the sessions to the hub, destroys them when the deadline passes, and arms no timer any more', async () => {
    const clock = new ManualClock();
    const { listener, join, attempt } = await start({ clock });
    const { record } = await join();
    const deadline = new AbortController();
    await listener.stop(closeReason('Draining'), deadline.signal);
    expect(record.closes).toHaveLength(0);
    await record.connection.send(message('still there'));
    expect((await attempt()).open).toBe(false);
    deadline.abort();
    await eventually('cut off', () => record.closes.length === 1);
    await eventually('no timer', () => clock.pending === 0);
  });
});
