import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { createMetrics } from '../../src/core/metrics.ts';
import { historySecretNames } from '../../src/history/history-shards.ts';
import { placeOf } from '../../src/history/history-strays.ts';
import type { KnownNode } from '../../src/history/known-node.ts';
import {
  EMPTY_HISTORY,
  encodeHistory,
  HISTORY_FIELD,
  type HistoryState,
  MAX_HISTORY_BYTES,
} from '../../src/history/node-history-codec.ts';
import { NodeHistoryService } from '../../src/history/node-history-service.ts';
import { ManualClock } from '../fakes/manual-clock.ts';
import { MemorySecretStore } from '../fakes/memory-secret-store.ts';
import { capturedLog } from '../support/captured-log.ts';

const SECRET = 'sallyport-history';
const NODES = 100_000;
const SHARDS = 16;
const [DAY, HOUR, MIB] = [86_400_000, 3_600_000, 1024 * 1024];
const NOW = Date.UTC(2026, 0, 1);

/** With all that may be known of one: nothing packs well. */
function nodeOf(i: number): KnownNode {
  const absences = Array.from({ length: 6 }, (_, n): [number, number] => {
    const from = NOW - (n * 50 + (i % 37)) * DAY - i * 60_000;
    return [from, from + (3 + (i % 29)) * HOUR];
  });
  return {
    certificate: {
      serial: randomBytes(16).toString('hex').toUpperCase(),
      issuerSha256: 'a'.repeat(64),
      notBefore: NOW - (i % 300) * DAY - i * 1_000,
      notAfter: NOW + (365 - (i % 300)) * DAY,
    },
    firstSeen: NOW - 300 * DAY,
    joinedAt: NOW - (i % 300) * DAY - i * 1_000,
    lastSeen: NOW - i * 1_234,
    openIn: `run-${i % 8}`,
    transport: 'websocket',
    replica: `hub-${i % 8}`,
    absences: absences.reverse(),
  };
}

test('R3: 100,000 nodes fit into the Secrets, none is forgotten, and a replica moves 2 MiB in five minutes at most', async () => {
  const clock = new ManualClock(NOW);
  const store = new MemorySecretStore();
  const names = historySecretNames(SECRET, SHARDS);
  const nodeNames = Array.from({ length: NODES }, (_, i) => `site-${(i * 7919) % NODES}-edge-${i}`);
  const shards = Array.from({ length: SHARDS }, () => new Map<string, KnownNode>());
  for (const [i, node] of nodeNames.entries()) shards[placeOf(node, SHARDS) - 1]!.set(node, nodeOf(i));
  const put = async (name: string, state: Partial<HistoryState>) => {
    const bytes = await encodeHistory({ ...EMPTY_HISTORY, ...state });
    store.put({ name, data: { [HISTORY_FIELD]: bytes } });
    return bytes.length;
  };
  await put(names[0]!, { shards: SHARDS });
  const sizes: number[] = [];
  for (const [i, nodes] of shards.entries()) sizes.push(await put(names[i + 1]!, { nodes }));
  expect(Math.max(...sizes)).toBeLessThan(MAX_HISTORY_BYTES * 0.6);

  const mine = store.connect();
  const metrics = createMetrics({ process: false });
  const service = new NodeHistoryService({ store: mine, clock, log: capturedLog(), metrics }, () => ({
    secret: SECRET,
    maxShards: SHARDS,
    replica: 'hub-0',
    syncMs: 300_000,
    graceDays: 30,
    edgeDays: 365,
  }));
  await service.start();
  expect(service.list()).toHaveLength(NODES);
  expect(service.forgotten()).toBeUndefined();

  const moved = async () => {
    await clock.advance(1_000);
    const [writes, calls] = [store.writes.length, mine.calls.length];
    await service.sync();
    const size = ({ name }: { name: string }) => store.peek(name)?.data[HISTORY_FIELD]?.length ?? 0;
    const sum = (some: readonly { name: string }[]) => some.reduce((bytes, one) => bytes + size(one), 0);
    const written = store.writes.slice(writes);
    return {
      bytes: sum(written) + sum(mine.calls.slice(calls).filter(({ call }) => call === 'get')),
      writes: written.length,
    };
  };
  // Idle: four Secrets are looked at a turn, and all of them in an hour.
  const from = mine.calls.length;
  for (let turn = 0; turn < 5; turn++) {
    const { bytes, writes } = await moved();
    expect(writes).toBe(0);
    expect(bytes).toBeLessThanOrEqual(2 * MIB);
  }
  expect(new Set(mine.calls.slice(from).map(({ name }) => name)).size).toBe(SHARDS + 1);

  // A seventh of the fleet comes at once, as after the end of a replica.
  for (let i = 0; i < NODES; i += 7) {
    const { certificate } = nodeOf(i);
    const identity = { ...certificate, sha256: 'b'.repeat(64), issuer: 'CN=KubeEdge' };
    service.nodeConnected({ nodeName: nodeNames[i]!, legacy: false, certificate: identity }, 'websocket');
  }
  let [turns, writes] = [0, 0];
  for (; ; turns++) {
    const turn = await moved();
    if (turn.writes === 0) break;
    expect(turn.bytes).toBeLessThanOrEqual(2 * MIB);
    writes += turn.writes;
  }
  expect(writes).toBe(SHARDS);
  expect(turns).toBeLessThanOrEqual(12);
  expect(service.forgotten()).toBeUndefined();
  await service.stop();
});
