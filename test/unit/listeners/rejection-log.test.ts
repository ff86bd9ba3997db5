import { expect, test } from 'vitest';
import type { RejectionReport } from '../../../src/contracts/rejections.ts';
import { RejectionLog } from '../../../src/listeners/rejection-log.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const report = (more: Partial<RejectionReport> = {}): RejectionReport => ({
  listener: 'websocket',
  reason: 'expired',
  remoteAddress: '10.0.0.1',
  detail: 'node edge-1, expired 3 days ago',
  ...more,
});

test('L2: attempts of one node are one entry with its count, first and last time, latest first', async () => {
  const clock = new ManualClock();
  const log = new RejectionLog({ clock });
  const first = clock.now();
  log.record(report({ node: 'edge-1' }));
  log.record(report({ node: 'edge-2', reason: 'revoked' }));
  await clock.advance(60_000);
  log.record(report({ node: 'edge-1', remoteAddress: '10.0.0.2' }));
  expect(log.list()).toMatchObject([
    {
      node: 'edge-1',
      reason: 'expired',
      remoteAddress: '10.0.0.2',
      count: 2,
      firstAt: new Date(first).toISOString(),
      lastAt: new Date(clock.now()).toISOString(),
      fix: expect.stringContaining('renew within the grace'),
    },
    { node: 'edge-2', reason: 'revoked', count: 1 },
  ]);
});

test('a name that nobody vouches for is never shown as the node, and is counted by address', () => {
  const log = new RejectionLog({ clock: new ManualClock() });
  log.record(report({ reason: 'unknown-ca', claimedNode: 'edge-1' }));
  log.record(report({ reason: 'unknown-ca', claimedNode: 'edge-2' }));
  const items = log.list();
  expect(items).toMatchObject([{ claimedNode: 'edge-2', count: 2 }]);
  expect(items[0]).not.toHaveProperty('node');
});

test('I14: a flood of strangers is bounded in number and size, and pushes out no node', () => {
  const log = new RejectionLog({ clock: new ManualClock() }, { maxStrangers: 50, maxNodes: 20 });
  log.record(report({ node: 'edge-1' }));
  for (let n = 0; n < 5_000; n++)
    log.record(
      report({
        reason: 'unknown-ca',
        remoteAddress: `10.1.${n >> 8}.${n & 255}`,
        claimedNode: 'x'.repeat(10_000),
        detail: 'y'.repeat(10_000),
        facts: { presentedIssuer: 'z'.repeat(10_000) },
      }),
    );
  const items = log.list();
  expect(items).toHaveLength(51);
  expect(items.filter(({ node }) => node === 'edge-1')).toHaveLength(1);
  expect(JSON.stringify(items).length).toBeLessThan(51 * 2_000);
  for (let n = 0; n < 100; n++) log.record(report({ node: `edge-${n}` }));
  expect(log.list().filter(({ node }) => node !== undefined)).toHaveLength(20);
});

test('what was not repeated for a week is forgotten, and starts anew', async () => {
  const clock = new ManualClock();
  const log = new RejectionLog({ clock });
  log.record(report({ node: 'edge-1' }));
  await clock.advance(7 * 86_400_000);
  expect(log.list()).toEqual([]);
  log.record(report({ node: 'edge-1' }));
  expect(log.list()).toMatchObject([{ count: 1 }]);
});

test('facts are told as ISO 8601, and what cannot be a time is left out', () => {
  const log = new RejectionLog({ clock: new ManualClock() });
  log.record(report({ node: 'edge-1', facts: { hubTime: 0, notAfter: Number.NaN, serial: '01' } }));
  expect(log.list()[0]?.facts).toEqual({ hubTime: '1970-01-01T00:00:00.000Z', serial: '01' });
});
