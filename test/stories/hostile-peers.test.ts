import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { captureLog } from '../support/capture-log.ts';
import { EdgeCoreSocket, goGet } from '../support/edges/edgecore.ts';
import {
  closeCode,
  frameHead,
  halfHello,
  rawTcp,
  rawTls,
  rawWebSocket,
  upgradeRequest,
} from '../support/edges/raw-edge.ts';
import { eventually } from '../support/eventually.ts';
import { listNodes, metric, mintNode, sendDown } from '../support/fleets/gateway-views.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { ecKeys, makeCsr, rsaKeys } from '../support/pki/csr.ts';
import { mintCa, mintEdge } from '../support/pki/pki.ts';

const websocket = (hub: TestGateway) => hub.port('websocket');
/** Keeps a session alive as EdgeCore does, but faster. */
function beating(edge: EdgeCoreSocket, everyMs: number): Disposable {
  const timer = setInterval(() => edge.socket.readyState === edge.socket.OPEN && edge.keepalive(), everyMs);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

describe('I2: slow sockets', () => {
  test('I2: 300 sockets that trickle, in every phase and on every listener, die at their own deadline; a good client notices nothing', async () => {
    const deadlineMs = 2_500;
    await using hub = await startTestGateway({
      settings: {
        'limits.handshakeTimeoutMs': String(deadlineMs),
        'limits.requestTimeoutMs': String(deadlineMs),
        'hub.keepaliveTimeoutMs': String(deadlineMs),
      },
    });
    const good = await EdgeCoreSocket.open(websocket(hub), 'good', await mintNode(hub, 'good'));
    using _beats = beating(good, 500);
    const lives: number[] = [];
    const failures: string[] = [];
    const slow = (socket: Socket, what: string, byte: string) => {
      const since = Date.now();
      const trickle = setInterval(() => socket.writable && socket.write(byte), 250);
      socket.resume();
      return new Promise<void>((resolve) => {
        const late = setTimeout(() => {
          failures.push(what);
          socket.destroy();
        }, deadlineMs + 8_000);
        socket.once('close', () => {
          clearInterval(trickle);
          clearTimeout(late);
          lives.push(Date.now() - since);
          resolve();
        });
      });
    };
    const ended: Promise<void>[] = [];
    for (const name of ['https', 'websocket', 'admin'] as const) {
      const port = hub.port(name);
      for (let n = 0; n < 30; n++) {
        const [tcp, hello, tls] = await Promise.all([rawTcp(port), rawTcp(port), rawTls(port)]);
        ended.push(slow(tcp, `${name}: nothing but a connection`, ''));
        halfHello(hello);
        ended.push(slow(hello, `${name}: half a hello`, 'a'));
        tls.write(
          name === 'websocket' ? upgradeRequest('edge-1').slice(0, 90) : 'GET /livez HTTP/1.1\r\nX-Slow: ',
        );
        ended.push(slow(tls, `${name}: half a header`, 'a'));
      }
    }
    const node = await mintNode(hub, 'half-a-frame');
    const half = await rawWebSocket(websocket(hub), 'half-a-frame', node);
    half.write(frameHead(0x81, 5_000));
    ended.push(slow(half, 'websocket: half a frame', 'a'));
    expect(ended).toHaveLength(271);
    const answers: number[] = [];
    let open = true;
    void Promise.all(ended).then(() => {
      open = false;
    });
    await eventually('all slow sockets are gone', async () => {
      const start = Date.now();
      expect((await goGet(hub.port('https'), '/livez')).status).toBe(200);
      answers.push(Date.now() - start);
      return !open;
    });
    expect(failures).toEqual([]);
    expect(Math.min(...lives)).toBeGreaterThan(1_000);
    expect(answers.sort((a, b) => a - b)[Math.floor(answers.length / 2)]).toBeLessThan(3 * 1_000);
    expect(good.socket.readyState).toBe(good.socket.OPEN);
    expect((await listNodes(hub)).map(({ node: name }) => name)).toEqual(['good']);
    good.socket.close();
  });
});

describe('limits', () => {
  test('I3: beyond the cap for an address, and beyond the cap in all, sockets are reset at accept and counted', async () => {
    await using hub = await startTestGateway({
      settings: { 'limits.connectionsPerIp': '5', 'limits.connections': '100' },
    });
    const sockets: Socket[] = [];
    for (let n = 0; n < 5; n++) sockets.push(await rawTls(websocket(hub)));
    for (let n = 0; n < 3; n++) await expect(rawTls(websocket(hub))).rejects.toThrow();
    const labels = { transport: 'websocket', limit: 'connections-per-ip' };
    expect(await metric(hub, 'connections_refused_total', labels)).toBe(3);
    // Another listener counts for itself, and a place that is given back is good again.
    expect((await goGet(hub.port('https'), '/livez')).status).toBe(200);
    sockets[0]!.destroy();
    await eventually('there is place again', () =>
      rawTls(websocket(hub)).then(
        (socket) => sockets.push(socket) > 0,
        () => false,
      ),
    );
    for (const socket of sockets) socket.destroy();
  });

  test('I4: a message over the limit, declared, real, fragmented or compressed, ends with 1009 or a reset', async () => {
    await using hub = await startTestGateway({ settings: { 'hub.maxMessageBytes': '65536' } });
    const chunk = Buffer.alloc(16_384, 0x20);
    const tricks: [string, (write: (bytes: Buffer) => void) => void, number[]][] = [
      ['declared', (write) => write(frameHead(0x81, 2 ** 40)), [1009]],
      [
        'real',
        (write) => {
          write(frameHead(0x81, 70_000));
          for (let n = 0; n < 5; n++) write(chunk);
        },
        [1009],
      ],
      [
        'fragmented',
        (write) => {
          for (let n = 0; n < 6; n++)
            write(Buffer.concat([frameHead(n === 0 ? 0x01 : 0x00, chunk.length), chunk]));
        },
        [1009],
      ],
      ['compressed', (write) => write(Buffer.concat([frameHead(0xc1, 100), Buffer.alloc(100)])), [1002]],
    ];
    const credentials = await mintNode(hub, 'edge-1');
    for (const [what, attack, codes] of tricks) {
      const socket = await rawWebSocket(websocket(hub), 'edge-1', credentials);
      const code = closeCode(socket);
      attack((bytes) => void (socket.writable && socket.write(bytes)));
      expect([...codes, 'closed'], what).toContain(await code);
      socket.destroy();
    }
    await eventually('no session is left', async () => (await listNodes(hub)).length === 0);
    expect(await metric(hub, 'messages_dropped_total', { reason: 'too-large' })).toBeGreaterThan(0);
  });

  test('I11: at the node limit a new node gets 503 and a closed socket; one that has a session is let in', async () => {
    await using hub = await startTestGateway({ settings: { 'hub.nodeLimit': '2' } });
    const nodes = await Promise.all([1, 2, 3].map((n) => mintNode(hub, `edge-${n}`)));
    const [one, two] = await Promise.all(
      [1, 2].map((n) => EdgeCoreSocket.open(websocket(hub), `edge-${n}`, nodes[n - 1]!)),
    );
    const socket = await rawTls(websocket(hub), nodes[2]!);
    socket.write(upgradeRequest('edge-3'));
    let text = '';
    socket.on('data', (data) => {
      text += data;
    });
    await new Promise((resolve) => socket.once('close', resolve));
    expect(text).toMatch(/^HTTP\/1\.1 503 /);
    expect(text).toContain('limit of 2 nodes');
    const again = await EdgeCoreSocket.open(websocket(hub), 'edge-1', nodes[0]!);
    expect((await listNodes(hub)).map(({ node }) => node).sort()).toEqual(['edge-1', 'edge-2']);
    for (const edge of [one!, two!, again]) edge.socket.terminate();
    await eventually('there is place', () =>
      EdgeCoreSocket.open(websocket(hub), 'edge-3', nodes[2]!).then(
        ({ socket: open }) => open.close() === undefined,
        () => false,
      ),
    );
  });

  test('I14: a node with a stale CA that keeps trying is one log line, and a counter', async () => {
    const { log, records } = captureLog();
    await using hub = await startTestGateway({ log });
    const pair = await mintEdge(await mintCa(), 'edge-stale');
    const stale = { ca: '', cert: pair.pem, key: pair.key };
    for (let n = 0; n < 20; n++) {
      const socket = await rawTls(websocket(hub), stale);
      socket.write(upgradeRequest('edge-stale'));
      await new Promise((resolve) => {
        socket.resume();
        socket.once('close', resolve);
      });
    }
    const lines = records().filter(
      (line) =>
        line.msg === 'a client certificate was refused' && JSON.stringify(line).includes('edge-stale'),
    );
    expect(lines).toHaveLength(1);
    const reasons = await metric(hub, 'handshake_failures_total', { transport: 'websocket' });
    expect(reasons).toBe(20);
  });
});

describe('peers that stop', () => {
  test('I6, J5: a peer that never reads is ended after the write time-out; what waits for it is bounded and counted', async () => {
    await using hub = await startTestGateway({
      settings: {
        'limits.writeTimeoutMs': '1000',
        'hub.queue.messagesPerNode': '40',
        'hub.ackTimeoutMs': '60000',
      },
    });
    const edge = await EdgeCoreSocket.open(websocket(hub), 'edge-1', await mintNode(hub, 'edge-1'));
    using _beats = beating(edge, 500);
    const other = await EdgeCoreSocket.open(websocket(hub), 'edge-2', await mintNode(hub, 'edge-2'));
    edge.socket.pause();
    const content = 'x'.repeat(400_000);
    let sent = 0;
    await eventually('the session ends', async () => {
      if (sent < 120) {
        await sendDown(hub, 'edge-1', { resource: `app/big/${sent++}`, content }).catch(() => {});
        expect(await metric(hub, 'downstream_queued_messages')).toBeLessThanOrEqual(40 + 32);
      }
      return !(await listNodes(hub)).some(({ node }) => node === 'edge-1');
    });
    const ended = await metric(hub, 'sessions_ended_total', { reason: 'SlowConsumer' });
    expect(ended).toBe(1);
    const sending = sendDown(hub, 'edge-2', { resource: 'app/x', wait: 'ack' });
    await eventually('the other is served', () => other.received.length === 1);
    other.acknowledge(other.received[0]!);
    expect((await sending).kind).toBe('acknowledged');
    edge.socket.terminate();
    other.socket.close();
  });

  test('I7: a peer that vanishes without a word loses its session within the time-out and 5 s, and its socket is closed', async () => {
    await using hub = await startTestGateway({ settings: { 'hub.keepaliveTimeoutMs': '1000' } });
    const edge = await rawWebSocket(websocket(hub), 'edge-1', await mintNode(hub, 'edge-1'));
    // From here on nothing is read and nothing written: to the hub as if every packet were dropped.
    edge.pause();
    const start = Date.now();
    await eventually('the session ends', async () => (await listNodes(hub)).length === 0);
    expect(Date.now() - start).toBeGreaterThan(500);
    await eventually(
      'its socket is closed',
      async () => (await metric(hub, 'connections', { transport: 'websocket' })) === 0,
    );
    expect(await metric(hub, 'sessions_ended_total', { reason: 'KeepaliveTimeout' })).toBe(1);
    edge.destroy();
  });

  test('I7, I8: pings are answered within a second under load, and any frame counts as life', async () => {
    await using hub = await startTestGateway({ settings: { 'hub.keepaliveTimeoutMs': '1500' } });
    const edges = await Promise.all(
      Array.from({ length: 10 }, async (_, n) =>
        EdgeCoreSocket.open(websocket(hub), `edge-${n}`, await mintNode(hub, `edge-${n}`)),
      ),
    );
    // Nobody sends a keepalive: messages and pings are all the life there is.
    const pinger = await EdgeCoreSocket.open(websocket(hub), 'pinger', await mintNode(hub, 'pinger'));
    const end = Date.now() + 3_000;
    const flood = edges.map(async (edge) => {
      while (Date.now() < end) {
        for (let n = 0; n < 20; n++)
          edge.send({ source: 'edged', group: 'resource', operation: 'update', resource: `app/${n}` }, n);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    });
    const times: number[] = [];
    while (Date.now() < end) {
      const start = Date.now();
      pinger.socket.ping();
      await new Promise((resolve) => pinger.socket.once('pong', resolve));
      times.push(Date.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const nodes = await listNodes(hub);
    await Promise.all(flood);
    expect(Math.max(...times)).toBeLessThan(3 * 1_000);
    expect(nodes).toHaveLength(11);
    // Measured by pings of the hub, which count for nothing else.
    expect(nodes.every(({ rttMs }) => rttMs !== undefined && rttMs < 3 * 1_500)).toBe(true);
    for (const { socket } of [...edges, pinger]) socket.close();
  });
});

test("D4: a request with a key of another type than the CA ends nobody else's connection", async () => {
  await using hub = await startTestGateway();
  const edge = await EdgeCoreSocket.open(websocket(hub), 'edge-1', await mintNode(hub, 'edge-1'));
  for (const keys of [rsaKeys(), ecKeys('P-384')]) {
    const csr = await makeCsr({ keys, subject: 'CN=system:node:edge-2' });
    for (let n = 0; n < 5; n++) {
      const answers = await Promise.all([
        goGet(hub.port('https'), '/edge.crt', { headers: { NodeName: 'edge-2' }, body: csr }),
        goGet(hub.port('https'), '/livez'),
        goGet(hub.port('https'), '/ca.crt'),
      ]);
      expect(answers.map(({ status }) => status)).toEqual([401, 200, 200]);
      edge.keepalive();
    }
  }
  expect(edge.socket.readyState).toBe(edge.socket.OPEN);
  expect(await listNodes(hub)).toHaveLength(1);
  edge.socket.close();
});
