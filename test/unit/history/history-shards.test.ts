import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { createMetrics } from '../../../src/core/metrics.ts';
import { placeOf } from '../../../src/history/history-strays.ts';
import type { KnownNode } from '../../../src/history/known-node.ts';
import {
  decodeHistory,
  EMPTY_HISTORY,
  encodeHistory,
  HISTORY_FIELD,
  type HistoryState,
  MAX_HISTORY_BYTES,
} from '../../../src/history/node-history-codec.ts';
import { NodeHistoryService } from '../../../src/history/node-history-service.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { capturedLog } from '../../support/captured-log.ts';

const SECRET = 'sallyport-history';
const DAY = 86_400_000;
const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 0, 1);
/** Small, so that a few hundred nodes fill them. */
const MAX_BYTES = 6_000;
const certificate = (endsInDays = 300) => ({
  serial: randomBytes(16).toString('hex').toUpperCase(),
  issuerSha256: 'a'.repeat(64),
  notBefore: NOW - 60 * DAY,
  notAfter: NOW + endsInDays * DAY,
});
const known = (seenDaysAgo: number, endsInDays?: number): KnownNode => ({
  certificate: certificate(endsInDays),
  firstSeen: NOW - 60 * DAY,
  lastSeen: NOW - seenDaysAgo * DAY,
  absences: [],
});
const fleet = (size: number, one = (i: number) => known(1 + i / size)) =>
  new Map(Array.from({ length: size }, (_, i) => [`edge-${i}`, one(i)] as const));
const peer = (nodeName: string) => ({
  nodeName,
  legacy: false,
  certificate: { ...certificate(), sha256: 'b'.repeat(64), issuer: 'CN=KubeEdge' },
});

let clock: ManualClock;
let store: MemorySecretStore;
beforeEach(() => {
  clock = new ManualClock(NOW);
  store = new MemorySecretStore();
});

async function start(options: { on?: MemorySecretStore; maxShards?: number; turnBytes?: number } = {}) {
  const { on = store.connect(), maxShards = 4, turnBytes = 1_000_000 } = options;
  const metrics = createMetrics({ process: false });
  const service = new NodeHistoryService({ store: on, clock, log: capturedLog(), metrics }, () => ({
    secret: SECRET,
    maxShards,
    replica: 'one',
    syncMs: 300_000,
    graceDays: 30,
    edgeDays: 365,
    maxBytes: MAX_BYTES,
    turnBytes,
  }));
  await service.start();
  const names = () => service.list().map(({ node }) => node);
  return { service, metrics, names };
}

async function put(state: Partial<HistoryState>, secret = SECRET) {
  const bytes = await encodeHistory({ ...EMPTY_HISTORY, ...state });
  store.put({ name: secret, data: { [HISTORY_FIELD]: bytes } });
}
const stored = (secret: string) => decodeHistory(store.peek(secret)!.data[HISTORY_FIELD]!);
const secrets = () => [SECRET, 1, 2, 3, 4].map((one) => (one === SECRET ? SECRET : `${SECRET}-${one}`));
const sizes = () => secrets().map((one) => store.peek(one)?.data[HISTORY_FIELD]?.length ?? 0);
const join = (service: NodeHistoryService, node: string) => {
  service.nodeConnected(peer(node), 'websocket');
  service.nodeDisconnected(node);
};

test('R3: 100,000 nodes fall evenly into 16 Secrets, each well below the limit of the API', () => {
  const counts = new Map<number, number>();
  for (let i = 0; i < 100_000; i++) {
    const place = placeOf(`site-${i % 997}-edge-${i}`, 16);
    counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  expect([...counts.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
  // 80 bytes a node are promised by the test of the codec.
  expect(Math.max(...counts.values()) * 80).toBeLessThan(MAX_HISTORY_BYTES * 0.75);
});

describe('R3: a history that outgrows its Secret', () => {
  test('is one of 0.1: it is spread over further Secrets, nobody is forgotten, and a restart knows everybody', async () => {
    const nodes = fleet(60);
    await put({ nodes });
    const { service, names } = await start();
    expect(names()).toHaveLength(60);
    expect(sizes().filter((size) => size > 0)).toHaveLength(1);
    for (let i = 60; i < 300; i++) join(service, `edge-${i}`);
    await service.sync();
    await service.sync();
    expect(sizes().every((size) => size > 0 && size <= MAX_BYTES)).toBe(true);
    expect(await stored(SECRET)).toMatchObject({ nodes: new Map(), shards: 4 });
    await service.stop();
    const again = await start();
    expect(again.names().sort()).toEqual([...fleet(300).keys()].sort());
    expect(again.service.get('edge-7')!.certificate.serial).toBe(nodes.get('edge-7')!.certificate.serial);
    expect(again.service.forgotten()).toBeUndefined();
    await again.service.stop();
  });

  test('is full to the brim: those that have not moved yet stay, whatever else is stored in the first Secret', async () => {
    let size = 0;
    for (let count = 100; size < MAX_BYTES - 30; count++) {
      await put({ nodes: fleet(count) });
      size = sizes()[0]!;
    }
    const before = (await stored(SECRET)).nodes.size;
    const on = store.connect();
    // Its new places cannot be written.
    on.fault = (call, name) => {
      if (call !== 'get' && name !== SECRET) throw new Error('refused');
    };
    const { service } = await start({ on });
    for (let i = 0; i < 40; i++) service.nodeConnected(peer(`new-${i}`), 'websocket');
    await service.sync();
    await clock.advance(61 * 60_000);
    await service.stop();
    expect(await stored(SECRET)).toMatchObject({ shards: 4 });
    expect((await stored(SECRET)).nodes.size).toBe(before);
    expect((await start()).service.forgotten()).toBeUndefined();
  });

  test('is spread by two replicas at once, each with nodes of its own', async () => {
    await put({ nodes: fleet(60) });
    const [one, two] = [await start(), await start()];
    for (let i = 60; i < 180; i++) join(one.service, `edge-${i}`);
    for (let i = 180; i < 300; i++) join(two.service, `edge-${i}`);
    for (let turn = 0; turn < 3; turn++) await Promise.all([one.service.sync(), two.service.sync()]);
    for (const { service, names } of [one, two]) {
      await service.sync();
      expect(names()).toHaveLength(300);
      expect(service.forgotten()).toBeUndefined();
    }
    expect((await stored(SECRET)).nodes.size).toBe(0);
  });

  test('is spread by whoever lives, when a replica is killed before or after any write', async () => {
    for (let dies = 0; ; dies++) {
      store = new MemorySecretStore();
      await put({ nodes: fleet(100) });
      let writes = 0;
      const doomed = store.connect();
      doomed.fault = (call) => {
        if (call !== 'get' && writes++ >= dies) throw new Error('killed');
      };
      const killed = await start({ on: doomed });
      for (let i = 100; i < 350; i++) join(killed.service, `edge-${i}`);
      await killed.service.sync();
      await killed.service.sync();
      const heir = await start();
      await heir.service.sync();
      await heir.service.sync();
      const names = new Set(heir.names());
      expect([...fleet(100).keys()].filter((node) => !names.has(node))).toEqual([]);
      expect(heir.service.forgotten()).toBeUndefined();
      if (writes < dies) {
        expect(writes).toBeGreaterThan(5);
        break;
      }
      await heir.service.stop();
    }
  });

  test('keeps its Secrets when fewer are configured, and is found when the first one vanished', async () => {
    const { service } = await start();
    for (let i = 0; i < 300; i++) join(service, `edge-${i}`);
    await service.stop();
    const fewer = await start({ maxShards: 1 });
    expect(fewer.names()).toHaveLength(300);
    await fewer.service.stop();
    store.remove(SECRET);
    const without = await start();
    expect(without.names()).toHaveLength(300);
  });

  test('forgets a node on purpose wherever it is, whatever another replica still remembers', async () => {
    await put({ nodes: fleet(60) });
    const [one, two] = [await start(), await start()];
    for (let i = 60; i < 300; i++) join(one.service, `edge-${i}`);
    await one.service.sync();
    // Spread, and the first Secret still has it too.
    expect((await stored(SECRET)).nodes.has('edge-7')).toBe(true);
    await clock.advance(60_000);
    expect(await one.service.forget('edge-7')).toBe(true);
    for (const { service } of [two, one, two]) await service.sync();
    expect([one.service.get('edge-7'), two.service.get('edge-7')]).toEqual([undefined, undefined]);
    expect((await start()).service.get('edge-7')).toBeUndefined();
  });
});

describe('R3: a history that has to forget', () => {
  test('says so on every replica and after a restart, until the last of their certificates can no longer be renewed', async () => {
    const { service, metrics } = await start({ maxShards: 0 });
    for (let i = 0; i < 400; i++) join(service, `edge-${i}`);
    await service.sync();
    const lost = 400 - (await stored(SECRET)).nodes.size;
    expect(lost).toBeGreaterThan(100);
    const wanted = {
      nodes: lost,
      since: new Date(NOW).toISOString(),
      until: new Date(NOW + 330 * DAY).toISOString(),
    };
    expect(service.forgotten()).toEqual(wanted);
    expect(await metrics.expose()).toMatch(`sallyport_node_history_forgotten_nodes ${lost}\n`);
    await service.stop();
    const again = await start();
    expect(again.service.forgotten()).toMatchObject(wanted);
    clock.jump(330 * DAY);
    expect(again.service.forgotten()).toBeUndefined();
  });

  test('lets those go first, and does not count them, whose certificates are good for nothing any more', async () => {
    // Seen last, and not to come back.
    const spent = fleet(110, () => known(0, -31));
    const others = new Map(Array.from({ length: 30 }, (_, i) => [`far-${i}`, known(40)] as const));
    await put({ nodes: new Map([...spent, ...others]) });
    const { service, names } = await start({ maxShards: 0 });
    for (let i = 0; i < 150; i++) join(service, `new-${i}`);
    await service.sync();
    const left = new Set(names());
    expect([...spent.keys()].filter((node) => left.has(node)).length).toBeLessThan(110);
    expect([...others.keys()].every((node) => left.has(node))).toBe(true);
    expect(service.forgotten()).toBeUndefined();
  });

  test('has forgotten as well when a Secret of it is damaged and nobody remembers', async () => {
    const { service } = await start();
    for (let i = 0; i < 300; i++) join(service, `edge-${i}`);
    await service.stop();
    store.put({ name: `${SECRET}-2`, data: { [HISTORY_FIELD]: randomBytes(500) } });
    const again = await start();
    expect(again.names().length).toBeGreaterThan(150);
    expect(again.service.forgotten()).toMatchObject({ nodes: 1, since: new Date(NOW).toISOString() });
    await again.service.sync();
    expect(await stored(`${SECRET}-2`)).toMatchObject({ lost: { nodes: 1 } });
    expect((await start()).service.forgotten()).toMatchObject({ nodes: 1 });
  });
});

describe('R3: what it costs', () => {
  const written = (from: number) => store.writes.slice(from).map(({ name }) => name);

  test('while nothing is new, a fleet of any size is one small write an hour, and its last contacts are known', async () => {
    const { service } = await start();
    for (let i = 0; i < 300; i++) service.nodeConnected(peer(`edge-${i}`), 'websocket');
    await service.sync();
    await service.sync();
    const before = store.writes.length;
    for (let turn = 0; turn < 36; turn++) {
      await clock.advance(300_000);
      await service.sync();
    }
    expect(written(before)).toEqual([SECRET, SECRET, SECRET]);
    expect(sizes()[0]).toBeLessThan(200);
    // It is killed.
    const heir = await start();
    expect(Date.parse(heir.service.get('edge-7')!.lastSeen!)).toBeGreaterThanOrEqual(NOW + 2 * HOUR);
    const { certificate: same, ...rest } = peer('edge-7');
    const cert = heir.service.get('edge-7')!.certificate;
    await clock.advance(90 * 60_000);
    heir.service.nodeConnected(
      { ...rest, certificate: { ...same, ...cert, notBefore: 0, notAfter: NOW + DAY } },
      'quic',
    );
    expect(heir.service.get('edge-7')!.absences).toEqual([]);
  });

  test('a stop writes one small thing too, and tells when the sessions ended', async () => {
    const { service } = await start();
    for (let i = 0; i < 300; i++) service.nodeConnected(peer(`edge-${i}`), 'websocket');
    await service.sync();
    await service.sync();
    await clock.advance(50 * 60_000);
    const before = store.writes.length;
    for (let i = 0; i < 300; i++) service.nodeDisconnected(`edge-${i}`);
    await service.stop();
    expect(written(before)).toEqual([SECRET]);
    const again = await start();
    expect(again.service.get('edge-7')!.lastSeen).toBe(new Date(NOW + 50 * 60_000).toISOString());
  });

  test('a turn moves no more than its budget however much is new, and all is stored after some', async () => {
    const turnBytes = 2.5 * MAX_BYTES;
    const { service } = await start({ turnBytes });
    for (let i = 0; i < 300; i++) join(service, `edge-${i}`);
    await service.sync();
    for (let turn = 0; turn < 6; turn++) await service.sync();
    await clock.advance(DAY);
    for (let i = 0; i < 300; i++) join(service, `edge-${i}`);
    const before = store.writes.length;
    for (let turn = 1; turn <= 6; turn++) {
      const from = store.writes.length;
      await service.sync();
      const bytes = written(from).reduce(
        (sum, name) => sum + store.peek(name)!.data[HISTORY_FIELD]!.length,
        0,
      );
      // Each is read and written.
      expect(2 * bytes).toBeLessThanOrEqual(turnBytes);
    }
    expect([...new Set(written(before))].sort()).toEqual(secrets().slice(1));
    expect((await start()).service.get('edge-7')!.lastSeen).toBe(new Date(NOW + DAY).toISOString());
  });
});
