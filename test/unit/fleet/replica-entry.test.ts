import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { ReplicaEntry } from '../../../src/contracts/replica-board.ts';
import {
  decodeEntries,
  decodeReceipts,
  decodeServed,
  encodeEntries,
  encodeReceipts,
} from '../../../src/fleet/replica-entry.ts';

const NOW = Date.UTC(2026, 10, 28, 8);
const closed = (n: number) => ({
  revocation: 'r1',
  node: `edge-${n}`,
  sessionId: `s-${n}`,
  transport: 'websocket',
  at: new Date(NOW).toISOString(),
});
const entry = (aliveAt: number, sessions = 0): ReplicaEntry => ({
  replica: 'hub',
  aliveAt,
  revocation: { version: 1, appliedAt: NOW },
  rollover: 3,
  closed: Array.from({ length: sessions }, (_, n) => closed(n)),
  served: [
    {
      replica: 'hub',
      listener: 'https',
      wantedSha256: 'b'.repeat(64),
      checkedAt: new Date(NOW).toISOString(),
    },
  ],
});

for (const [name, encode, decode, maxBytes] of [
  ['the board', encodeEntries, decodeEntries, 256 * 1024],
  ['receipts of 0.1', encodeReceipts, decodeReceipts, 128 * 1024],
] as const)
  describe(name, () => {
    test('of many replicas with many sessions the newest are kept within the bound, the long silent are forgotten', () => {
      const all = new Map(Array.from({ length: 100 }, (_, n) => [`run-${n}`, entry(NOW - n * 60_000, 50)]));
      const bytes = encode(all, NOW);
      expect(bytes.length).toBeLessThanOrEqual(maxBytes);
      const read = decode(bytes);
      expect(read.size).toBe(60);
      expect(read.get('run-0')!.closed.at(-1)).toEqual(closed(49));
      expect(read.has('run-60')).toBe(false);
    });

    test('what cannot be read is left out, who lives stays in', () => {
      const keys = (text: string) => [...decode(Buffer.from(text)).keys()];
      expect(decode(undefined).size).toBe(0);
      for (const text of ['', 'null', '[1]', '"x"', '{"a":null}', '{"a":{"replica":"x"}}'])
        expect(keys(text)).toEqual([]);
      const stored = JSON.parse(Buffer.from(encode(new Map([['a', entry(NOW, 1)]]), NOW)).toString());
      const damaged = {
        ...stored,
        b: { ...stored.a, closed: [{}], served: 'x' },
        c: { ...stored.a, aliveAt: 'x' },
      };
      expect(keys(JSON.stringify(damaged))).toEqual(['a', 'b']);
      expect(decode(Buffer.from(JSON.stringify(damaged))).get('b')).toMatchObject({ closed: [], served: [] });
    });
  });

test('what is told on the board is what is read of it, also what a later version adds', () => {
  const told = { ...entry(NOW, 2), later: 1 };
  expect(decodeEntries(encodeEntries(new Map([['run', told]]), NOW)).get('run')).toEqual(told);
});

test('the Secrets of 0.1 are read: its receipts, and what it serves for half an hour', () => {
  const recorded = JSON.parse(readFileSync('test/fixtures/secrets-of-0.1.0.json', 'utf8'));
  const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
  const receipts = decodeReceipts(bytes(recorded['sallyport-revocations']['receipts.json']));
  expect([...receipts.values()].map(({ replica, revocation }) => [replica, revocation])).toEqual([
    ['old-a', { version: 2, appliedAt: NOW }],
    ['old-b', { version: 2, appliedAt: NOW }],
  ]);
  expect([...receipts.values()][1]!.closed[0]).toMatchObject({ node: 'edge-1', transport: 'quic' });
  const served = bytes(recorded['sallyport-replicas']['served.json']);
  expect(decodeServed(served, NOW + 1_799_999)).toMatchObject([{ replica: 'old-a', listener: 'websocket' }]);
  expect(decodeServed(served, NOW + 1_800_000)).toEqual([]);
  // Written back, a replica of 0.1 reads what it wrote.
  expect(JSON.parse(Buffer.from(encodeReceipts(receipts, NOW)).toString())).toEqual(
    recorded['sallyport-revocations']['receipts.json'],
  );
});
