import { randomBytes } from 'node:crypto';
import { brotliCompressSync } from 'node:zlib';
import { beforeEach, describe, expect, test } from 'vitest';
import type { GatewayEvent } from '../../../src/contracts/event-recorder.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { fitHistory } from '../../../src/history/history-room.ts';
import { issuedTo, type KnownNode, mergeKnown, seen } from '../../../src/history/known-node.ts';
import {
  decodeHistory,
  EMPTY_HISTORY,
  encodeHistory,
  HISTORY_FIELD,
  MAX_HISTORY_BYTES,
} from '../../../src/history/node-history-codec.ts';
import { NodeHistoryService } from '../../../src/history/node-history-service.ts';
import { DAMAGED_FIELD, MAX_DAMAGED_BYTES } from '../../../src/history/node-history-state.ts';
import { forecastNode } from '../../../src/history/renewal-forecast.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { eventuallyHolds } from '../../support/eventually.ts';

const DAY = 86_400_000;
const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 0, 1);
const CA = 'a'.repeat(64);
const certificate = (from: number, days = 365, serial = '0A') => ({
  serial,
  issuerSha256: CA,
  notBefore: from,
  notAfter: from + days * DAY,
});
const contact = (at: number, cert = certificate(NOW - 10 * DAY), replica = 'a') => ({
  certificate: cert,
  transport: 'websocket' as const,
  replica,
  at,
});

describe('what is known of one node', () => {
  test('absences are what lies between contacts; short ones are none, and only the longest are kept', () => {
    let node = seen(undefined, contact(NOW));
    for (const days of [0.01, 3, 1, 2, 9, 4, 5, 7]) node = seen(node, contact(node.lastSeen! + days * DAY));
    expect(node.absences.map(([from, to]) => (to - from) / DAY)).toEqual([3, 2, 9, 4, 5, 7]);
    expect(
      seen(node, contact(node.lastSeen! + 500 * DAY)).absences.map(([from, to]) => (to - from) / DAY),
    ).toEqual([500]);
  });

  test('two replicas put together what they know, in either order: the later contact, the newest certificate, the shorter of one absence', () => {
    const base = seen(undefined, contact(NOW));
    const here = seen(seen(base, contact(NOW + 2 * DAY)), contact(NOW + 3 * DAY, undefined, 'a'));
    const there = issuedTo(seen(base, contact(NOW + 2.5 * DAY, undefined, 'b')), {
      certificate: certificate(NOW, 365, '0B'),
      joined: false,
      at: NOW,
    });
    const merged = mergeKnown(here, there);
    expect(mergeKnown(there, here)).toEqual(merged);
    expect(merged).toMatchObject({
      replica: 'a',
      lastSeen: NOW + 3 * DAY,
      firstSeen: NOW,
      issued: { serial: '0B' },
    });
    expect(merged.absences[0]).toEqual([NOW, NOW + 2 * DAY]);
    expect(
      mergeKnown(merged, seen(merged, contact(NOW + 4 * DAY, certificate(NOW, 365, '0B')))).issued,
    ).toBeUndefined();
  });
});

describe('the forecast', () => {
  const context = { now: NOW, graceMs: 30 * DAY, isConnected: false, isRevoked: false };
  const away = (absenceDays: number, awayDays: number, endsInDays: number): KnownNode => ({
    certificate: certificate(NOW + (endsInDays - 365) * DAY),
    firstSeen: NOW - 300 * DAY,
    lastSeen: NOW - awayDays * DAY,
    absences: absenceDays === 0 ? [] : [[NOW - 250 * DAY, NOW - (250 - absenceDays) * DAY]],
  });
  test.each([
    ['usually back after 10 days, ends in 20', away(10, 2, 20), 'ok'],
    ['usually back after 40 days, ends in 20', away(40, 2, 20), 'renewable'],
    ['usually back after 90 days, ends in 20', away(90, 2, 20), 'at-risk'],
    ['never away before, away for 100 days, ends in 60', away(0, 100, 60), 'at-risk'],
    ['never away before, away for 2 days, ends in 60', away(0, 2, 60), 'ok'],
    ['ended 10 days ago, back every 3 days', away(3, 1, -10), 'renewable'],
    ['ended 31 days ago', away(3, 1, -31), 'expired'],
  ])('F1: a node %s', (_what, known, verdict) => {
    expect(forecastNode('edge-1', known, context).verdict).toBe(verdict);
    expect(forecastNode('edge-1', known, { ...context, isRevoked: true }).verdict).toBe('revoked');
  });

  test('a connected node is fine, unless it has not renewed where every node has', () => {
    const connected = { ...context, isConnected: true };
    expect(forecastNode('edge-1', away(90, 0, 60), connected)).toMatchObject({
      verdict: 'ok',
      overdue: false,
    });
    expect(forecastNode('edge-1', away(90, 0, 20), connected).verdict).toBe('at-risk');
  });

  test('a node that was given a certificate and never came is judged by that certificate', () => {
    const known = issuedTo(undefined, {
      certificate: certificate(NOW - 200 * DAY, 220),
      joined: true,
      at: NOW - 200 * DAY,
    });
    expect(forecastNode('edge-1', known, context)).toMatchObject({ verdict: 'at-risk', overdue: true });
    expect(forecastNode('edge-1', known, context).lastSeen).toBeUndefined();
  });
});

describe('the stored history', () => {
  const fleet = (size: number) =>
    new Map(
      Array.from({ length: size }, (_, i): [string, KnownNode] => {
        const serial = randomBytes(16).toString('hex').toUpperCase();
        const absences = Array.from({ length: 6 }, (_, n): [number, number] => {
          const from = NOW - (n * 50 + (i % 37)) * DAY - i * 60_000;
          return [from, from + (3 + (i % 29)) * HOUR];
        }).reverse();
        return [
          `site-${(i * 7919) % size}-edge-${randomBytes(2).toString('hex')}-${i}`,
          {
            certificate: certificate(NOW - (i % 300) * DAY - i * 1_000, 365, serial),
            firstSeen: NOW - 300 * DAY,
            joinedAt: NOW - (i % 300) * DAY - i * 1_000,
            lastSeen: NOW - i * 60_000,
            openIn: `run-${i % 3}`,
            transport: 'quic',
            replica: `hub-${i % 3}`,
            absences,
          },
        ];
      }),
    );

  test('10,000 nodes fit into a Secret beside a damaged history, and are read as they were written', async () => {
    const nodes = fleet(10_000);
    const bytes = await encodeHistory({ ...EMPTY_HISTORY, nodes, forgotten: new Map([['gone', NOW]]) });
    expect(bytes.length).toBeLessThan(MAX_HISTORY_BYTES);
    expect(bytes.length / 10_000).toBeLessThan(80);
    expect(MAX_HISTORY_BYTES + MAX_DAMAGED_BYTES).toBeLessThan(1024 * 1024);
    const read = await decodeHistory(bytes);
    expect(read.forgotten).toEqual(new Map([['gone', NOW]]));
    expect(new Map([...read.nodes].sort())).toEqual(new Map([...nodes].sort()));
  }, 30_000);

  test('what does not fit goes, the nodes that were not seen for longest first', async () => {
    const nodes = fleet(300);
    const room = { maxBytes: 8_000, now: NOW, graceMs: 30 * DAY };
    const { bytes, state: kept, dropped } = await fitHistory({ ...EMPTY_HISTORY, nodes }, room);
    expect(bytes.length).toBeLessThanOrEqual(8_000);
    expect(kept.nodes.size + dropped.length).toBe(300);
    expect(dropped.length).toBeGreaterThan(50);
    const oldestKept = Math.min(...[...kept.nodes.values()].map(({ lastSeen }) => lastSeen!));
    expect(dropped.every((node) => nodes.get(node)!.lastSeen! < oldestKept)).toBe(true);
  });
});

describe('the history of replicas', () => {
  let clock: ManualClock;
  let store: MemorySecretStore;
  beforeEach(() => {
    clock = new ManualClock(NOW);
    store = new MemorySecretStore();
  });
  const start = async (replica: string) => {
    const log = capturedLog();
    const events: GatewayEvent[] = [];
    const metrics = createMetrics({ process: false });
    const service = new NodeHistoryService(
      { store: store.connect(), clock, log, metrics, events: { record: (one) => void events.push(one) } },
      () => ({
        secret: 'sallyport-history',
        maxShards: 16,
        replica,
        syncMs: 300_000,
        graceDays: 30,
        edgeDays: 365,
      }),
    );
    await service.start();
    return { service, log, events, metrics };
  };
  const peer = (nodeName: string, cert = certificate(NOW - 10 * DAY)) => ({
    nodeName,
    legacy: false,
    certificate: { ...cert, sha256: 'b'.repeat(64), issuer: 'CN=KubeEdge' },
  });

  test('what one saw the other knows after its next turn, and a restart forgets nothing', async () => {
    const [one, two] = [await start('one'), await start('two')];
    one.service.nodeConnected(peer('edge-1'), 'quic');
    await one.service.sync();
    await two.service.sync();
    expect(two.service.get('edge-1')).toMatchObject({
      replica: 'one',
      transport: 'quic',
      connectedHere: false,
    });
    await clock.advance(3 * HOUR);
    await one.service.stop();
    const again = await start('one');
    expect(again.service.get('edge-1')).toMatchObject({ lastSeen: new Date(NOW + 3 * HOUR).toISOString() });
    await two.service.stop();
    await again.service.stop();
    expect(clock.pending).toBe(0);
  });

  test('while nothing is new nothing is written but once an hour that a node is still here', async () => {
    const { service } = await start('one');
    service.nodeConnected(peer('edge-1'), 'websocket');
    await service.sync();
    const version = () => store.peek('sallyport-history')!.version;
    const before = version();
    await clock.advance(50 * 60_000);
    expect(version()).toBe(before);
    await clock.advance(20 * 60_000);
    // It is compressed on another thread.
    await eventuallyHolds(() => expect(version()).not.toBe(before));
  });

  test('a forgotten node stays forgotten, whatever another replica still remembers, until it is back', async () => {
    const [one, two] = [await start('one'), await start('two')];
    two.service.nodeConnected(peer('edge-1'), 'websocket');
    two.service.nodeDisconnected('edge-1');
    await two.service.sync();
    two.service.nodeConnected(peer('edge-1'), 'websocket');
    await expect(two.service.forget('edge-1')).rejects.toMatchObject({ code: 'NODE_STILL_CONNECTED' });
    two.service.nodeDisconnected('edge-1');
    await clock.advance(60_000);
    expect(await one.service.forget('edge-1')).toBe(true);
    await two.service.sync();
    expect([one.service.get('edge-1'), two.service.get('edge-1')?.node]).toEqual([undefined, undefined]);
    expect(await one.service.forget('edge-1')).toBe(false);
    await clock.advance(60_000);
    two.service.nodeConnected(peer('edge-1'), 'websocket');
    await two.service.sync();
    await one.service.sync();
    expect(one.service.get('edge-1')).toBeDefined();
  });

  test('a node that joins again with a token is known to have the CA of that moment, on every replica and after a restart', async () => {
    const [one, two] = [await start('one'), await start('two')];
    const issued = (how: 'token' | 'renewal', serial: string) => ({
      node: 'edge-1',
      how,
      serial,
      issuerSha256: CA,
      notBefore: new Date(clock.now() - HOUR).toISOString(),
      notAfter: new Date(clock.now() + 365 * DAY).toISOString(),
    });
    one.service.certificateIssued(issued('token', '0A'));
    await one.service.sync();
    clock.jump(DAY);
    one.service.certificateIssued(issued('renewal', '0B'));
    one.service.nodeConnected(peer('edge-1'), 'websocket');
    await one.service.sync();
    await two.service.sync();
    expect(two.service.get('edge-1')!.joinedAt).toBe(new Date(NOW).toISOString());
    clock.jump(DAY);
    two.service.certificateIssued(issued('token', '0C'));
    await two.service.sync();
    await one.service.sync();
    for (const { service } of [one, two, await start('three')])
      expect(service.get('edge-1')!.joinedAt).toBe(new Date(NOW + 2 * DAY).toISOString());
  });

  test('garbage is reported once, put aside and begun anew; what a newer version wrote is left alone', async () => {
    const garbage = randomBytes(300);
    store.put({ name: 'sallyport-history', data: { [HISTORY_FIELD]: garbage } });
    const { service, log, events } = await start('one');
    service.nodeConnected(peer('edge-1'), 'websocket');
    await service.sync();
    await service.sync();
    const { data } = store.peek('sallyport-history')!;
    expect(Buffer.from(data[DAMAGED_FIELD]!).equals(garbage)).toBe(true);
    expect([...(await decodeHistory(data[HISTORY_FIELD]!)).nodes.keys()]).toEqual(['edge-1']);
    expect(log.lines.filter(({ level }) => level === 'error').length).toBeGreaterThan(0);
    expect(events.map(({ reason }) => reason)).toContain('SecretRefused');

    const newer = brotliCompressSync(JSON.stringify({ format: 3 }));
    store.put({ name: 'sallyport-history', data: { [HISTORY_FIELD]: newer } });
    service.nodeDisconnected('edge-1');
    await service.sync();
    expect(Buffer.from(store.peek('sallyport-history')!.data[HISTORY_FIELD]!).equals(newer)).toBe(true);
    expect(service.get('edge-1')).toBeDefined();
  });

  test('F1: a node that becomes at risk is told of once, in an event and in the metrics', async () => {
    const { service, events, metrics } = await start('one');
    service.nodeConnected(peer('edge-1', certificate(NOW - 300 * DAY)), 'websocket');
    service.nodeDisconnected('edge-1');
    await service.sync();
    expect(events).toEqual([]);
    await clock.advance(60 * DAY);
    const told = events.filter(({ reason }) => reason === 'NodeAtRisk');
    expect(told).toHaveLength(1);
    expect(told[0]!.message).toContain('edge-1');
    expect(await metrics.expose()).toMatch(/sallyport_nodes_at_risk\{verdict="at-risk"\} 1\n/);
  }, 30_000);
});
