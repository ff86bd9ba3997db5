import { expect, test } from 'vitest';
import { DescriptorBudget } from '../../src/listeners/descriptor-budget.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import { encodeFrame, encodeFramed, FRAME_TYPES } from '../../src/protocol/codec-framed.ts';
import { createMessage } from '../../src/protocol/message.ts';
import { encodeHello } from '../../src/protocol/quic-control.ts';
import { capturedLog } from '../support/captured-log.ts';
import { openRaw, rawQuic, sayHello, startQuic } from '../support/edges/quic-rig.ts';
import { eventually } from '../support/eventually.ts';
import { bundleOf } from '../support/pki/fixed-source.ts';
import { mintCa, mintEdge, mintServer, OID } from '../support/pki/pki.ts';

const day = 86_400_000;
const ago = (days: number) => new Date(Date.now() - days * day);
const message = encodeFramed(createMessage({ source: 'edged' }, 'hi', { now: 1 }));

async function refusals(hub: Awaited<ReturnType<typeof startQuic>>): Promise<string[]> {
  const { values } = await hub.metrics.handshakeFailures.get();
  return values.map(({ labels }) => Object.values(labels).join(' '));
}

test.each([
  ['untrusted', 'unknown-ca', 'TrustRemoved'],
  ['untrusted of the same name', 'unknown-ca', 'TrustRemoved'],
  ['expired', 'expired', 'CertificateExpired'],
  ['of a server', 'wrong-usage', 'Unauthenticated'],
  ['without a node name', 'no-node-name', 'Unauthenticated'],
] as const)(
  'K1, F3: a certificate that is %s is refused, told and counted as %s',
  async (kind, word, reason) => {
    await using hub = await startQuic();
    const pair = await {
      untrusted: async () => mintEdge(await mintCa({ subject: 'CN=other' }), 'edge-1'),
      'untrusted of the same name': async () => mintEdge(await mintCa(), 'edge-1'),
      expired: () => mintEdge(hub.ca, 'edge-1', { notBefore: ago(20), notAfter: ago(10) }),
      'of a server': () => mintEdge(hub.ca, 'edge-1', { usages: [OID.serverAuth] }),
      'without a node name': () => mintEdge(hub.ca, 'edge-1', { subject: 'CN=somebody' }),
    }[kind]();
    await expect(hub.connect('edge-1', { pair })).rejects.toMatchObject({
      code: 'CONNECT_REFUSED',
      details: { word, reason },
    });
    await expect.poll(() => refusals(hub)).toEqual([`quic ${word}`]);
    expect(hub.acceptor.connections).toEqual([]);
    expect(hub.acceptor.received).toEqual([]);
  },
);

test('K1: an edge without a certificate is refused with the reason, and reaches no handler', async () => {
  await using hub = await startQuic();
  const { session, ended } = await rawQuic(hub.port, { ca: hub.ca, pair: undefined });
  session.ready().then(
    () => openRaw(session).write(encodeHello({ node_id: 'edge-1', project_id: 'p' })),
    () => {},
  );
  expect(await ended).toEqual({
    errorCode: 4401,
    reason: 'Unauthenticated: no-certificate: no client certificate was presented',
  });
  expect(hub.acceptor.connections).toEqual([]);
  expect(await refusals(hub)).toEqual(['quic no-certificate']);
});

test.each(['victim', 'ATTACKER', ' attacker', 'attacker '])(
  'G1: the certificate of `attacker` cannot speak as %j',
  async (name) => {
    await using hub = await startQuic();
    const pair = await mintEdge(hub.ca, 'attacker');
    await expect(hub.connect(name, { pair })).rejects.toMatchObject({
      code: 'CONNECT_REFUSED',
      details: { word: 'node-mismatch', reason: 'NodeMismatch' },
    });
    expect(hub.acceptor.connections).toEqual([]);
    expect(await refusals(hub)).toEqual(['quic node-mismatch']);
  },
);

test('a CA that was removed is refused at the next handshake', async () => {
  await using hub = await startQuic();
  const oldCa = hub.ca;
  const nextCa = await mintCa({ subject: 'CN=next' });
  const next = bundleOf({ ca: oldCa, server: await mintServer(oldCa), clientCAs: [nextCa] });
  hub.source.set(next);
  await hub.listener.applyBundle(next);
  await expect(hub.connect('edge-1')).rejects.toMatchObject({
    code: 'CONNECT_REFUSED',
    details: { word: 'unknown-ca' },
  });
});

test('the gate decides by the trust of now, even on a generation that still trusts the removed CA', async () => {
  await using hub = await startQuic();
  const nextCa = await mintCa({ subject: 'CN=next' });
  hub.source.set(bundleOf({ ca: nextCa, server: await mintServer(nextCa) }));
  await expect(hub.connect('edge-1')).rejects.toMatchObject({
    code: 'CONNECT_REFUSED',
    details: { word: 'unknown-ca' },
  });
  expect(await refusals(hub)).toEqual(['quic unknown-ca']);
});

test('G2: messages before the welcome end the connection and reach no handler', async () => {
  await using hub = await startQuic();
  const { session, ended } = await rawQuic(hub.port, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  await session.ready();
  const control = openRaw(session);
  const early = openRaw(session);
  early.write(message);
  expect(await ended).toMatchObject({ errorCode: closeReason('ProtocolError').code });
  control.write(encodeHello({ node_id: 'edge-1', project_id: 'p' }));
  expect(hub.acceptor.connections).toEqual([]);
  expect(hub.acceptor.received).toEqual([]);
});

test.each([
  ['a message instead of a hello', message],
  ['a hello that is no JSON', encodeFrame(FRAME_TYPES.hello, Buffer.from('{'))],
  ['a hello that is null', encodeFrame(FRAME_TYPES.hello, Buffer.from('null'))],
  ['a hello without node', encodeFrame(FRAME_TYPES.hello, Buffer.from('{"project_id":"p"}'))],
  ['a hello of another type', encodeFrame(FRAME_TYPES.hello, Buffer.from('{"node_id":["edge-1"]}'))],
  ['a ping instead of a hello', encodeFrame(FRAME_TYPES.ping, new Uint8Array())],
  ['garbage', Buffer.alloc(64, 0xff)],
])('I15: %s ends that connection only', async (_what, bytes) => {
  await using hub = await startQuic();
  const good = await hub.connect('good');
  const { session, ended } = await rawQuic(hub.port, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  await session.ready();
  openRaw(session).write(bytes);
  expect(await ended).toMatchObject({
    errorCode: closeReason('ProtocolError').code,
    reason: expect.stringMatching(/^ProtocolError: protocol: /),
  });
  await good.echo('fine');
});

test('I2: a session whose hello does not come, or comes a byte at a time, ends at its deadline', async () => {
  await using hub = await startQuic({ requestTimeoutMs: 300 });
  const pair = await mintEdge(hub.ca, 'edge-1');
  const silent = await rawQuic(hub.port, { ca: hub.ca, pair });
  const slow = await rawQuic(hub.port, { ca: hub.ca, pair });
  await slow.session.ready();
  const control = openRaw(slow.session);
  const hello = encodeHello({ node_id: 'edge-1', project_id: 'p' });
  let at = 0;
  const drip = setInterval(() => control.write(hello.subarray(at, ++at)), 20);
  const code = closeReason('StreamTimeout').code;
  expect(await silent.ended).toMatchObject({ errorCode: code });
  expect(await slow.ended).toMatchObject({ errorCode: code });
  clearInterval(drip);
});

test('I11: what the hub says to a node it does not admit reaches the edge', async () => {
  await using hub = await startQuic();
  hub.acceptor.admission = (node) =>
    node === 'known'
      ? { ok: true }
      : {
          ok: false,
          status: 503,
          close: closeReason('TryAgainLater'),
          detail: 'the hub has reached its limit of 1 nodes',
          retryAfterMs: 5_000,
        };
  await (await hub.connect('known')).echo('in');
  await expect(hub.connect('one-too-many')).rejects.toMatchObject({
    code: 'CONNECT_REFUSED',
    details: {
      reason: 'TryAgainLater',
      retryAfterMs: 5_000,
      problem: expect.stringContaining('its limit of 1'),
    },
  });
});

test('I3: an address gets no more flows than its limit', async () => {
  await using hub = await startQuic({ connectionsPerIp: 2 });
  await (await hub.connect('one')).echo(1);
  await (await hub.connect('two')).echo(2);
  const third = await rawQuic(hub.port, {
    ca: hub.ca,
    pair: await mintEdge(hub.ca, 'three'),
    connectTimeoutMs: 20_000,
  });
  // CONNECTION_REFUSED (RFC 9000 §20.1).
  expect(await third.ended).toEqual({
    errorCode: 2,
    reason: expect.stringContaining('limits.connectionsPerIp'),
  });
  const { values } = await hub.metrics.connectionsRefused.get();
  expect(values[0]).toMatchObject({ labels: { transport: 'quic', limit: 'connections-per-ip' } });
});

test('N6: a flow takes a descriptor and gives it back; without one to spare the client is told, it is counted, and there is one line', async () => {
  const budget = new DescriptorBudget(10);
  const log = capturedLog();
  await using hub = await startQuic({}, { descriptors: budget.share({ leaving: 8 }), log });
  const one = await hub.connect('one');
  await (await hub.connect('two')).echo(2);
  for (let i = 0; i < 2; i++)
    await expect(hub.connect('three', { connectTimeoutMs: 20_000 })).rejects.toMatchObject({
      code: 'CONNECT_FAILED',
      details: { problem: expect.stringContaining('the hub has no file descriptor to spare') },
    });
  const { values } = await hub.metrics.connectionsRefused.get();
  expect(values[0]).toMatchObject({ labels: { transport: 'quic', limit: 'descriptors' } });
  expect(log.lines.filter(({ fields }) => fields.limit === 'descriptors')).toMatchObject([
    { fields: { remoteAddress: '127.0.0.1', suppressed: 0 } },
  ]);
  one.link.close(closeReason('Normal'));
  await eventually('its descriptor is free', () => hub.listener.flows === 1);
  await (await hub.connect('three')).echo(3);
});

test('K4: a session ticket with early data changes nothing before the handshake is complete', async () => {
  await using hub = await startQuic();
  const pair = await mintEdge(hub.ca, 'edge-1');
  const first = await rawQuic(hub.port, { ca: hub.ca, pair });
  const ticket = new Promise<Buffer>((resolve) => first.session.on('sessionTicket', resolve));
  await sayHello(first.session, 'edge-1');
  const sessionTicket = await ticket;
  await first.session.close();
  await eventually('the first connection has ended', () => hub.acceptor.connections.length === 0);
  // The CA is no longer trusted: neither the ticket nor early data may help.
  hub.source.set(bundleOf({ ca: hub.ca, server: await mintServer(hub.ca), clientCAs: [await mintCa()] }));
  const second = await rawQuic(hub.port, { ca: hub.ca, pair, sessionTicket, allow0RTT: true });
  second.session.ready().then(
    () => openRaw(second.session).write(encodeHello({ node_id: 'edge-1', project_id: 'p' })),
    () => {},
  );
  expect((await second.ended).errorCode).toBeGreaterThanOrEqual(256);
  expect(hub.acceptor.connections).toEqual([]);
});

test('an edge does not take the certificate of another edge for the hub, nor a hub of another name', async () => {
  await using hub = await startQuic();
  for (const server of [
    await mintEdge(hub.ca, 'evil', { names: ['localhost', '127.0.0.1'] }),
    await mintServer(hub.ca, { names: ['other.example'] }),
  ]) {
    const next = bundleOf({ ca: hub.ca, server });
    hub.source.set(next);
    await hub.listener.applyBundle(next);
    await expect(hub.connect('edge-1')).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
  }
  expect(hub.acceptor.connections).toEqual([]);
});

test('a session that goes straight to the port of a server, past the steering and its limits, is closed at once and holds nothing', async () => {
  await using hub = await startQuic();
  const [port] = hub.listener.serverPorts;
  let held = 0;
  let looks = true;
  const look = () => {
    held = Math.max(held, ...hub.listener.sessionsOfServers);
    if (looks) setImmediate(look);
  };
  look();
  const stranger = await rawQuic(port!, { ca: hub.ca, pair: await mintEdge(hub.ca, 'edge-1') });
  expect(await stranger.ended).toEqual({
    errorCode: closeReason('TryAgainLater').code,
    reason: 'connect to the public port',
  });
  looks = false;
  // Else a trial of a bundle that ends late would count as somebody who sits on that bundle.
  expect(held).toBe(0);
  expect(hub.acceptor.connections).toHaveLength(0);
  const edge = await hub.connect('edge-1');
  expect((await edge.echo('through the steering')).content).toBe('through the steering');
});
