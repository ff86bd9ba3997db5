import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { expect, test } from 'vitest';
import type { Probe } from '../../../../src/contracts/handshake.ts';
import { systemClock } from '../../../../src/core/clock.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { OWN_PROBE } from '../../../../src/core/own-probe.ts';
import type { Flow } from '../../../../src/listeners/quic/flow.ts';
import { FlowSteering } from '../../../../src/listeners/quic/flow-steering.ts';
import { UnprovenFlows } from '../../../../src/listeners/quic/unproven-flows.ts';
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
const short = (destination: Buffer, bytes = 49) =>
  Buffer.concat([Buffer.from([0x40]), destination, Buffer.alloc(bytes - destination.length - 1)]);

const UNPROVEN = 8;

async function bound(address = '127.0.0.1'): Promise<Socket & AsyncDisposable> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  return socket;
}

/** Steering before one server that answers everything; what the server saw, and what the clients got. */
async function steered(clients: readonly Socket[]) {
  const server = await bound();
  const seen: { datagram: Buffer; port: number }[] = [];
  server.on('message', (datagram, { port }) => {
    seen.push({ datagram, port });
    // Its long headers carry its own ID.
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
    () => ({
      connections: 10,
      connectionsPerIp: 10,
      handshakes: 10,
      handshakeTimeoutMs: 10_000,
      unproven: UNPROVEN,
    }),
  );
  steering.targets = { next: () => target, includes: (one) => one === target };
  await steering.start('127.0.0.1', 0);
  const { port } = steering.address()!;
  const answers: Socket[] = [];
  for (const socket of clients) socket.on('message', () => answers.push(socket));
  const send = (socket: Socket, datagram: Buffer) => socket.send(datagram, port, '127.0.0.1');
  const say = async (socket: Socket, datagram: Buffer) => {
    const count = seen.length;
    send(socket, datagram);
    await eventually('the server has it', () => seen.length > count);
  };
  /** A handshake, and a session. */
  const open = async (socket: Socket, first: Buffer) => {
    const at = seen.length;
    await say(socket, first);
    await eventually('the server answered', () => answers.length === seen.length);
    await say(socket, long(2, SERVER_ID, CLIENT_ID));
    let pings = 0;
    const session = { remotePort: seen[at]!.port, ping: () => ++pings };
    expect(steering.claim(session)).toBeDefined();
    return { pings: () => pings };
  };
  const dispose = async () => {
    await steering.close();
    await server[Symbol.asyncDispose]();
  };
  return { server, steering, port, seen, answers, send, say, open, [Symbol.asyncDispose]: dispose };
}

test('Q2: a client that changed its connection ID, as quic-go does after the handshake, is found when its address changes', async () => {
  await using home = await bound();
  await using away = await bound();
  await using hub = await steered([home, away]);
  const session = await hub.open(home, long(0, Buffer.alloc(8, 1), CLIENT_ID));
  await hub.say(home, short(SERVER_ID));
  await hub.say(home, short(CHANGED_ID));

  await hub.say(away, short(CHANGED_ID));
  await eventually('the server answered', () => hub.answers.length === hub.seen.length);
  await hub.say(away, short(CHANGED_ID));
  await eventually('the answer goes where the client is', () => hub.answers.at(-1) === away);
  expect(new Set(hub.seen.map((one) => one.port)).size).toBe(1);
  // The library has to learn that its path works again.
  expect(session.pings()).toBe(1);
});

test('Q2: datagrams are as large as a path of 1300 bytes carries, and larger only from a client that began with larger ones', async () => {
  for (const { first, taken } of [
    { first: 1200, taken: 1252 },
    // As quic-go begins.
    { first: 1280, taken: 1280 },
  ]) {
    await using client = await bound();
    await using hub = await steered([client]);
    await hub.open(client, long(0, Buffer.alloc(8, 1), CLIENT_ID, first));
    hub.send(client, short(SERVER_ID, taken + 1));
    await hub.say(client, short(SERVER_ID, taken));
    expect(hub.seen.at(-1)!.datagram).toHaveLength(taken);
    expect(hub.seen.map(({ datagram }) => datagram.length)).not.toContain(taken + 1);
    const answered = hub.answers.length;
    const { port } = hub.seen[0]!;
    for (const bytes of [1253, 1252]) hub.server.send(short(CLIENT_ID, bytes), port, '127.0.0.1');
    const { length } = await new Promise<Buffer>((resolve) =>
      client.on('message', (datagram) => datagram.length > 49 && resolve(datagram)),
    );
    expect(length).toBe(1252);
    expect(hub.answers.length).toBeGreaterThan(answered);
  }
});

test('first datagrams that nobody stands behind push out strangers, not who was here before', async () => {
  await using edge = await bound();
  await using again = await bound();
  await using stranger = await bound('127.0.0.2');
  await using hub = await steered([edge, again, stranger]);
  await hub.open(edge, long(0, Buffer.alloc(8, 1), CLIENT_ID));
  for (const socket of [again, stranger]) {
    await hub.say(socket, long(0, randomBytes(8), CLIENT_ID));
    await eventually('the server answered', () => hub.answers.length === hub.seen.length);
  }
  const [known, unknown] = hub.seen.slice(-2).map(({ port }) => port);
  for (let i = 0; i < 3 * UNPROVEN; i++) {
    await using forged = await bound('127.0.0.3');
    await hub.say(forged, long(0, randomBytes(8), CLIENT_ID));
  }
  const before = hub.answers.length;
  for (const port of [unknown, known]) hub.server.send(short(CLIENT_ID), port, '127.0.0.1');
  await eventually('an answer', () => hub.answers.length > before);
  expect(hub.answers.slice(before)).toEqual([again]);
});

test('an address that was here before has half of the places, however much comes in its name', () => {
  const flows = new UnprovenFlows();
  const begin = (address: string) => {
    const flow = { address } as Flow;
    flows.add(flow);
    return flow;
  };
  flows.meet('10.0.0.1');
  const stranger = begin('10.0.0.2');
  const next = begin('10.0.0.3');
  const known = [begin('10.0.0.1'), begin('10.0.0.1'), begin('10.0.0.1')];
  expect(flows.next()).toBe(known[0]);
  flows.delete(known[0]!);
  expect(flows.next()).toBe(stranger);
  flows.delete(stranger);
  flows.delete(next);
  expect(flows.next()).toBe(known[1]);
  expect(flows.size).toBe(2);
});

test("L5: the listener's own probe is known for one however late its end is told, and only while it stays where it was", async () => {
  await using home = await bound();
  await using away = await bound();
  await using hub = await steered([home, away]);
  const { steering, port } = hub;
  const ofClient = (client: Socket) => hub.seen.findLast(({ datagram }) => datagram.includes(idOf(client)))!;
  const idOf = (client: Socket) => (client === home ? CLIENT_ID : CHANGED_ID);
  const probe: Probe = { host: '127.0.0.1', port };
  await steering.probes.during(probe, async ({ onBound }) => {
    onBound!({ host: '127.0.0.1', port: home.address().port });
    await hub.open(home, long(0, Buffer.alloc(8, 1), CLIENT_ID));
  });
  expect(steering.fail(ofClient(home).port)).toBe(OWN_PROBE);
  await hub.say(home, short(SERVER_ID));
  await hub.say(away, short(SERVER_ID));
  await hub.say(away, short(SERVER_ID));
  expect(steering.fail(ofClient(home).port)).toBe('127.0.0.1');
});
