import { createSocket, type Socket } from 'node:dgram';
import { expect, test } from 'vitest';
import { systemClock } from '../../../../src/core/clock.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import type { Flow } from '../../../../src/listeners/quic/flow.ts';
import { FlowSteering } from '../../../../src/listeners/quic/flow-steering.ts';
import { eventually } from '../../../support/eventually.ts';

const SERVER_ID = Buffer.from('a1a2a3a4a5a6a7a8', 'hex');
const CHANGED_ID = Buffer.from('b1b2b3b4b5b6b7b8', 'hex');
const CLIENT_ID = Buffer.from('c1c2c3c4c5c6c7c8', 'hex');

/** Headers as RFC 9000 has them; what is behind them is nobody's business here. */
function long(type: number, destination: Buffer, source: Buffer, bytes = 1200): Buffer {
  const header = Buffer.concat([
    Buffer.from([0xc0 | (type << 4), 0, 0, 0, 1, destination.length]),
    destination,
    Buffer.from([source.length]),
    source,
  ]);
  return Buffer.concat([header, Buffer.alloc(bytes - header.length)]);
}
const short = (destination: Buffer) => Buffer.concat([Buffer.from([0x40]), destination, Buffer.alloc(40)]);

async function bound(): Promise<Socket & AsyncDisposable> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return socket;
}

test('Q2: a client that changed its connection ID, as quic-go does after the handshake, is found when its address changes', async () => {
  await using server = await bound();
  const seen: { datagram: Buffer; port: number }[] = [];
  server.on('message', (datagram, { port }) => {
    seen.push({ datagram, port });
    // A server answers; its long headers carry its own ID.
    const isLong = (datagram[0]! & 0x80) !== 0;
    server.send(isLong ? long(2, CLIENT_ID, SERVER_ID, 300) : short(CLIENT_ID), port, '127.0.0.1');
  });
  const target = { port: server.address().port, flows: new Set<Flow>() };
  const steering = new FlowSteering(
    {
      clock: systemClock,
      log: silentLogger,
      metrics: createMetrics({ process: false }),
      onGoogleQuic() {},
    },
    () => ({ connections: 10, connectionsPerIp: 10, handshakes: 10, handshakeTimeoutMs: 10_000 }),
  );
  steering.targets = { next: () => target, includes: (one) => one === target };
  await steering.start('127.0.0.1', 0);
  const { port } = steering.address()!;
  await using home = await bound();
  await using away = await bound();
  const answers: Socket[] = [];
  for (const socket of [home, away]) socket.on('message', () => answers.push(socket));
  const say = async (socket: Socket, datagram: Buffer) => {
    const count = seen.length;
    socket.send(datagram, port, '127.0.0.1');
    await eventually('the server has it', () => seen.length > count);
  };

  await say(home, long(0, Buffer.alloc(8, 1), CLIENT_ID));
  await eventually('the server answered', () => answers.length === 1);
  await say(home, long(2, SERVER_ID, CLIENT_ID));
  let pings = 0;
  const session = { remotePort: seen[0]!.port, ping: () => pings++ };
  expect(steering.claim(session)).toBeDefined();
  await say(home, short(SERVER_ID));
  await say(home, short(CHANGED_ID));

  await say(away, short(CHANGED_ID));
  await eventually('the server answered', () => answers.length === seen.length);
  await say(away, short(CHANGED_ID));
  await eventually('the answer goes where the client is', () => answers.at(-1) === away);
  expect(new Set(seen.map((one) => one.port)).size).toBe(1);
  // The library has to learn that its path works again.
  expect(pings).toBe(1);
  await steering.close();
});
