import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { expect, test } from 'vitest';
import { readLongHeader } from '../../src/listeners/quic/quic-packet.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { capturedLog } from '../support/captured-log.ts';
import { startQuic } from '../support/edges/quic-rig.ts';
import { UdpRelay } from '../support/edges/udp-relay.ts';
import { eventually } from '../support/eventually.ts';

/** A UDP socket that talks to the hub and keeps what it answers. */
async function talk(port: number, host = '127.0.0.1') {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  await new Promise<void>((resolve) => socket.connect(port, host, resolve));
  const answers: Buffer[] = [];
  socket.on('message', (datagram) => answers.push(datagram));
  return { socket, answers, [Symbol.dispose]: () => socket.close() };
}

function initial(version: number, bytes = 1200): Buffer {
  const datagram = randomBytes(bytes);
  datagram[0] = 0xc0;
  datagram.writeUInt32BE(version, 1);
  datagram[5] = 8;
  datagram[14] = 8;
  return datagram;
}

/** A real first datagram with a connection ID of its own, as if from yet another client. */
function another(first: Buffer): Buffer {
  const copy = Buffer.from(first);
  randomBytes(copy[5]!).copy(copy, 6);
  return copy;
}

/** From senders that never answer. */
async function flood(port: number, first: Buffer, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    using client = await talk(port);
    client.socket.send(another(first));
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}

test('K3: a client of an unknown version of QUIC gets version negotiation, and no flow', async () => {
  await using hub = await startQuic();
  using client = await talk(hub.port);
  const datagram = initial(0x1a2a3a4a);
  client.socket.send(datagram);
  await eventually('an answer', () => client.answers.length === 1);
  const answer = client.answers[0]!;
  const header = readLongHeader(answer)!;
  expect(header.version).toBe(0);
  expect(header.destination).toBe(datagram.toString('latin1', 15, 23));
  expect(header.source).toBe(datagram.toString('latin1', 6, 14));
  expect(answer.readUInt32BE(answer.length - 4)).toBe(1);
});

/** The first datagram of EdgeCore with QUIC on, as its library (quic-go 0.10.1) writes the header. */
function edgeCoreInitial(id: Buffer): Buffer {
  const header = Buffer.concat([Buffer.from('ff5130343450', 'hex'), id, Buffer.from('00000001', 'hex')]);
  return Buffer.concat([header, randomBytes(1072 - header.length)]);
}

test("Q4: EdgeCore's QUIC (Q044) is told at once that its version is not spoken, is counted, and named to the operator once", async () => {
  const log = capturedLog();
  await using hub = await startQuic({}, { log });
  using client = await talk(hub.port);
  const id = randomBytes(8);
  for (let i = 0; i < 3; i++) client.socket.send(edgeCoreInitial(id));
  await eventually('an answer to each', () => client.answers.length === 3);
  // quic-go 0.10.1 looks for its connection in the empty destination ID, and reads versions after the source.
  const expected = Buffer.concat([Buffer.from('800000000005', 'hex'), id, Buffer.from('00000001', 'hex')]);
  expect(client.answers[0]).toEqual(expected);
  const { values } = await hub.metrics.handshakeFailures.get();
  expect(values).toMatchObject([{ labels: { transport: 'quic', reason: 'kubeedge-quic' }, value: 3 }]);
  expect(hub.rejections.list()).toMatchObject([
    {
      listener: 'quic',
      reason: 'kubeedge-quic',
      count: 3,
      remoteAddress: '127.0.0.1',
      fix: expect.stringContaining('edgeHub.websocket.enable'),
    },
  ]);
  expect(log.lines.filter(({ fields }) => fields.reason === 'kubeedge-quic')).toMatchObject([
    { fields: { remoteAddress: '127.0.0.1', fix: expect.stringContaining('edgeHub.websocket.enable') } },
  ]);
});

test('K4: a first datagram is answered with Retry, and by far less than three times its size', async () => {
  await using hub = await startQuic();
  await using relay = await UdpRelay.start({ targetPort: hub.port });
  const first: Buffer[] = [];
  relay.onToServer = (datagram) => first.push(datagram);
  await hub.connect('edge-1', { port: relay.port });
  using forger = await talk(hub.port);
  for (let i = 0; i < 5; i++) forger.socket.send(another(first[0]!));
  await eventually('a Retry', () => forger.answers.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const answered = forger.answers.reduce((sum, answer) => sum + answer.length, 0);
  expect(answered).toBeLessThan(5 * first[0]!.length);
  // Packet type 3 is Retry (RFC 9000 §17.2.5).
  expect(new Set(forger.answers.map((answer) => (answer[0]! >> 4) & 3))).toEqual(new Set([3]));
});

test('K4: an Initial shorter than 1200 bytes, and a short header of nobody, get no answer', async () => {
  await using hub = await startQuic();
  using client = await talk(hub.port);
  client.socket.send(initial(1, 1199));
  client.socket.send(initial(0x1a2a3a4a, 1199));
  const short = randomBytes(60);
  short[0] = 0x40;
  client.socket.send(short);
  client.socket.send(initial(0x1a2a3a4a));
  await eventually('the answer to the last', () => client.answers.length > 0);
  expect(client.answers).toHaveLength(1);
});

test('I15: random and mutated datagrams harm nobody, and memory stays flat', async () => {
  await using hub = await startQuic();
  await using relay = await UdpRelay.start({ targetPort: hub.port });
  const seen: Buffer[] = [];
  relay.onToServer = (datagram) => seen.length < 50 && seen.push(datagram);
  const edge = await hub.connect('edge-1', { port: relay.port });
  await edge.echo('before');
  const noise = async (count: number) => {
    using client = await talk(hub.port);
    for (let i = 0; i < count; i++) {
      const datagram =
        i % 2 === 0 ? randomBytes(1 + (i % 1350)) : Buffer.from(seen[i % seen.length] as Buffer);
      if (i % 2 === 1)
        for (let n = 0; n < 3; n++) datagram[(i * 7919 + n * 31) % datagram.length]! ^= 1 + (i % 255);
      client.socket.send(datagram);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await noise(10_000);
  const before = process.memoryUsage().rss;
  await noise(20_000);
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  await edge.echo('after');
  await (await hub.connect('edge-2')).echo('new');
  expect(hub.acceptor.closed).toEqual([]);
});

test('a flood of first datagrams from many addresses does not keep a real client out', async () => {
  await using hub = await startQuic({ handshakes: 16 });
  await using relay = await UdpRelay.start({ targetPort: hub.port });
  const first: Buffer[] = [];
  relay.onToServer = (datagram) => first.push(datagram);
  await hub.connect('edge-1', { port: relay.port });
  await flood(hub.port, first[0]!, 4_500);
  await (await hub.connect('edge-2')).echo('in');
});

test('N6: forged senders use no more descriptors than are to spare, and a real client takes the place of one', async () => {
  const spare = { used: 0, most: 0 };
  const descriptors = {
    take: () => {
      if (spare.used === 20) return false;
      spare.most = Math.max(spare.most, ++spare.used);
      return true;
    },
    give: () => void spare.used--,
  };
  {
    await using hub = await startQuic({}, { descriptors });
    await using relay = await UdpRelay.start({ targetPort: hub.port });
    const first: Buffer[] = [];
    relay.onToServer = (datagram) => first.push(datagram);
    await (await hub.connect('edge-1', { port: relay.port })).echo('in');
    await flood(hub.port, first[0]!, 100);
    await eventually('all are used', () => spare.most === 20);
    await (await hub.connect('edge-2')).echo('in');
    expect(hub.acceptor.closed).toEqual([]);
  }
  expect(spare).toEqual({ used: 0, most: 20 });
});

test('IPv6 and IPv4 clients reach a hub that listens on ::', async () => {
  await using hub = await startQuic({ host: '::' });
  await (await hub.connect('four')).echo(4);
  await (await hub.connect('six', { host: '[::1]' })).echo(6);
  expect(hub.acceptor.connections.map((one) => one.remoteAddress).sort()).toEqual(['127.0.0.1', '::1']);
});

test('stop refuses newcomers, leaves the connections to the hub, and ends what is left at the deadline', async () => {
  await using hub = await startQuic();
  const edge = await hub.connect('edge-1');
  const deadline = new AbortController();
  const stopped = hub.listener.stop(closeReason('Draining'), deadline.signal);
  await edge.echo('still served');
  await expect(hub.connect('edge-2')).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
  deadline.abort();
  await stopped;
  expect(await edge.closed).toMatchObject({ name: 'Draining' });
  await hub.listener.stop(closeReason('Draining'), deadline.signal);
});

test('a port that is taken is LISTEN_FAILED with the address', async () => {
  await using hub = await startQuic();
  await expect(startQuic({ port: hub.port })).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    details: { listener: 'quic', address: `127.0.0.1:${hub.port}` },
  });
});
