import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { QuicClientSession } from '@currentspace/http3';
import { expect, test, vi } from 'vitest';
import { systemClock } from '../../../../src/core/clock.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { QuicGeneration } from '../../../../src/listeners/quic/generation.ts';
import { loadQuicLibrary, type QuicLibrary } from '../../../../src/listeners/quic/native.ts';
import { indistinguishable } from '../../../../src/listeners/quic/trust-order.ts';
import { GENEROUS, startQuic } from '../../../support/edges/quic-rig.ts';
import { UdpRelay } from '../../../support/edges/udp-relay.ts';
import { eventually } from '../../../support/eventually.ts';
import { bundleOf, freshSource } from '../../../support/pki/fixed-source.ts';
import { mintCa, mintEdge, mintServer } from '../../../support/pki/pki.ts';
import { scaled } from '../../../support/scale.ts';

const MANY = scaled(100, 20);

test(`B5: ${MANY} connections keep echoing across a swap, and new ones get the new certificate`, async () => {
  await using hub = await startQuic();
  const edges = [];
  for (let i = 0; i < MANY; i++) edges.push(await hub.connect(`edge-${i}`));
  let echoes = 0;
  let isSwapping = true;
  const chatter = edges.map(async (edge, i) => {
    while (isSwapping) {
      await edge.echo(i, 'default/pod/x');
      echoes++;
    }
  });
  const nextCa = await mintCa({ subject: 'CN=next' });
  const next = bundleOf({ ca: nextCa, server: await mintServer(nextCa), clientCAs: [hub.ca, nextCa] });
  hub.source.set(next);
  await hub.listener.applyBundle(next);
  expect(hub.listener.servedFingerprint()).toBe(next.fingerprint);
  const newcomer = await hub.connect('newcomer', { trusted: nextCa });
  await newcomer.echo('new');
  const before = echoes;
  await eventually('old connections echo on', () => echoes > before + 200);
  isSwapping = false;
  await Promise.all(chatter);
  expect(hub.acceptor.closed).toEqual([]);
  await expect(hub.connect('old-trust')).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
  expect(hub.listener.generations).toBe(2);
});

test('a generation without connections is closed, and the current one serves on', async () => {
  await using hub = await startQuic();
  const edge = await hub.connect('edge-1');
  const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca) });
  hub.source.set(next);
  await hub.listener.applyBundle(next);
  expect(hub.listener.generations).toBe(2);
  edge.link.close({ name: 'Normal', code: 1000, text: 'done', retry: 'never' });
  await eventually('the old generation is closed', () => hub.listener.generations === 1);
  await (await hub.connect('edge-2')).echo('still here');
});

test('B6: a key that does not match changes nothing', async () => {
  await using hub = await startQuic();
  const before = hub.listener.servedFingerprint();
  const [one, two] = [await mintServer(hub.ca), await mintServer(hub.ca)];
  const broken = bundleOf({ ca: hub.ca, server: { ...one, key: two.key } });
  await expect(hub.listener.applyBundle(broken)).rejects.toThrow(/key values mismatch/);
  expect(hub.listener.servedFingerprint()).toBe(before);
  expect(hub.listener.generations).toBe(1);
  await (await hub.connect('edge-1')).echo('old certificate');
});

test('Q5: a trial whose answer overtakes the word that the handshake is done is no failure', async () => {
  await using hub = await startQuic();
  const { pem: certificate, key, certificate: leaf } = await mintEdge(hub.ca, 'edge-1');
  const stranger = await mintCa();
  await hub.listener.tryBundle(hub.source.current(), async (trial) => {
    const inside = QuicClientSession.prototype as unknown as { _scheduleHandshakeReady(): void };
    // As on a busy machine: the library says `ready` two turns of the event loop after the handshake.
    const ready = vi.spyOn(inside, '_scheduleHandshakeReady').mockImplementation(() => {});
    const shake = (ca: string) => {
      const client = { certificate, key };
      const request = { ...trial, name: 'localhost', ca, client, timeoutMs: 5_000, awaitReply: true };
      return hub.listener.handshake(request);
    };
    try {
      const { reply } = await shake(hub.ca.pem);
      expect(reply).toBe(leaf.fingerprint256.replaceAll(':', '').toLowerCase());
      await expect(shake(stranger.pem)).rejects.toThrow();
    } finally {
      ready.mockRestore();
    }
  });
});

/** The library, behind a network that loses the first so many trials. */
async function losing(trials: number, nobody: number): Promise<QuicLibrary> {
  const library = await loadQuicLibrary();
  let left = trials;
  return {
    ...library,
    connectQuic: (endpoint, options) =>
      left-- > 0
        ? library.connectQuic(`127.0.0.1:${nobody}`, { ...options, connectTimeoutMs: 50 })
        : library.connectQuic(endpoint, options),
  };
}

test.each([
  [1, 'serves'],
  [2, 'is refused'],
])('Q5: a good bundle whose own trial is lost %d× %s', async (trials, outcome) => {
  const { source } = await freshSource();
  const silent = createSocket('udp4').bind(0, '127.0.0.1');
  await once(silent, 'listening');
  const library = await losing(trials, silent.address().port);
  const generation = QuicGeneration.start(
    source.current(),
    { library, log: silentLogger, clock: systemClock, onSession: () => true, onHandshakeFailed() {} },
    () => ({ ...GENEROUS, idleTimeoutMs: 30_000, preflightTimeoutMs: GENEROUS.handshakeTimeoutMs }),
  );
  try {
    if (outcome === 'serves') await (await generation).close();
    else await expect(generation).rejects.toThrow(/time/i);
  } finally {
    silent.close();
  }
});

test('beyond the bound, the connections of the oldest generation are asked to reconnect', async () => {
  await using hub = await startQuic({ maxGenerations: 2, drainMs: 50 });
  const edges = [await hub.connect('edge-1')];
  for (const node of ['edge-2', 'edge-3']) {
    const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca) });
    hub.source.set(next);
    await hub.listener.applyBundle(next);
    edges.push(await hub.connect(node));
  }
  const reason = await edges[0]!.closed;
  expect(reason).toMatchObject({ name: 'Rebalance', retry: 'soon', reconnectAfterMs: expect.any(Number) });
  await eventually('the oldest generation is closed', () => hub.listener.generations === 2);
  await edges[1]!.echo('still here');
});

test('bundles that nobody connected under push nobody out', async () => {
  await using hub = await startQuic({ maxGenerations: 2, drainMs: 50 });
  const edge = await hub.connect('edge-1');
  for (let i = 0; i < 5; i++) {
    const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca) });
    hub.source.set(next);
    await hub.listener.applyBundle(next);
  }
  expect(hub.listener.generations).toBe(2);
  await edge.echo('still here');
  expect(hub.acceptor.closed).toEqual([]);
});

test('a client whose address changes (NAT rebinding) keeps its connection, on an old generation too', async () => {
  await using hub = await startQuic();
  await using relay = await UdpRelay.start({ targetPort: hub.port });
  const edge = await hub.connect('edge-1', { port: relay.port });
  await edge.echo('before');
  const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca) });
  hub.source.set(next);
  await hub.listener.applyBundle(next);
  await relay.rebind();
  await edge.echo('after');
  await relay.rebind();
  expect((await edge.echo('x'.repeat(300_000))).content).toHaveLength(300_000);
  expect(hub.acceptor.closed).toEqual([]);
});

test('C1: edges of the old and of the new CA are let in, whatever the order of the trust', async () => {
  await using hub = await startQuic();
  const nextCa = await mintCa();
  for (const clientCAs of [
    [hub.ca, nextCa],
    [nextCa, hub.ca],
  ]) {
    const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca), clientCAs });
    hub.source.set(next);
    await hub.listener.applyBundle(next);
    await (await hub.connect('old-edge')).echo('old');
    await (await hub.connect('new-edge', { pair: await mintEdge(nextCa, 'new-edge') })).echo('new');
  }
});

test('C2: a CA of KubeEdge without key identifier and its successor of the same name are told apart', async () => {
  await using hub = await startQuic();
  const kubeEdge = await mintCa({ keyIdentifiers: false });
  const clientCAs = [kubeEdge, hub.ca];
  const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca), clientCAs });
  hub.source.set(next);
  await hub.listener.applyBundle(next);
  await (await hub.connect('old-edge', { pair: await mintEdge(kubeEdge, 'old-edge') })).echo('old');
  await (await hub.connect('new-edge')).echo('new');
});

test('C2: edges that the hub issued get in over QUIC, of any of several CAs of one name and serial without key identifiers', async () => {
  await using hub = await startQuic();
  const same = { serial: '0400', keyIdentifiers: false };
  const twins = [await mintCa(same), await mintCa(same), await mintCa(same)];
  for (const clientCAs of [twins, [...twins].reverse()]) {
    const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca), clientCAs });
    hub.source.set(next);
    await hub.listener.applyBundle(next);
    for (const ca of twins)
      await (await hub.connect('edge', { pair: await mintEdge(ca, 'edge') })).echo('in');
  }
});

test('C2: of CAs of one name without key identifiers, edges whose certificate names no key either get in over QUIC of the first alone', async () => {
  await using hub = await startQuic();
  const [first, second] = [await mintCa({ keyIdentifiers: false }), await mintCa({ keyIdentifiers: false })];
  const clientCAs = [first, second];
  const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca), clientCAs });
  expect(indistinguishable(next)).toEqual(['CN=KubeEdge']);
  hub.source.set(next);
  await hub.listener.applyBundle(next);
  const mint = (ca: typeof first, node: string) => mintEdge(ca, node, { keyIdentifiers: false });
  await (await hub.connect('one', { pair: await mint(first, 'one') })).echo('in');
  await expect(hub.connect('two', { pair: await mint(second, 'two') })).rejects.toMatchObject({
    code: 'CONNECT_REFUSED',
    details: { word: 'unknown-ca' },
  });
});
