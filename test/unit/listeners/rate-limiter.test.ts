import { expect, test } from 'vitest';
import { RateLimiter, sourceOf } from '../../../src/listeners/https/rate-limiter.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

function taken(limiter: RateLimiter, source: string, times: number): number {
  let count = 0;
  for (let i = 0; i < times; i++) {
    try {
      limiter.take(source);
      count++;
    } catch {
      // Counted by its absence.
    }
  }
  return count;
}

test('D10: 1,000 requests a second of one source get its share, and leave the others theirs', async () => {
  const clock = new ManualClock();
  const limiter = new RateLimiter(clock, () => ({ perMinutePerSource: 60, perMinute: 120 }));
  expect(taken(limiter, 'flood', 1000)).toBe(60);
  expect(taken(limiter, 'good', 10)).toBe(10);
  await clock.advance(1000);
  expect(taken(limiter, 'flood', 1000)).toBe(1);
  expect(taken(limiter, 'good', 10)).toBe(10);
});

test('D10: many sources together do not get more than the limit in all', () => {
  const limiter = new RateLimiter(new ManualClock(), () => ({ perMinutePerSource: 60, perMinute: 100 }));
  let all = 0;
  for (let source = 0; source < 50; source++) all += taken(limiter, String(source), 10);
  expect(all).toBe(100);
});

test('D10: a million sources take bounded memory', () => {
  const limits = { perMinutePerSource: 60, perMinute: 2_000_000 };
  const limiter = new RateLimiter(new ManualClock(), () => limits, { maxSources: 100 });
  for (let source = 0; source < 10_000; source++) limiter.take(String(source));
  expect(limiter.size).toBe(100);
});

test('D10: a changed limit applies at once, and a clock set back takes nothing away', async () => {
  const clock = new ManualClock(1_000_000);
  const limits = { perMinutePerSource: 60, perMinute: 100 };
  const limiter = new RateLimiter(clock, () => limits);
  expect(taken(limiter, 'a', 1)).toBe(1);
  limits.perMinutePerSource = 10;
  expect(taken(limiter, 'a', 100)).toBe(10);
  await clock.advance(-500_000);
  expect(taken(limiter, 'a', 100)).toBe(0);
  await clock.advance(6000);
  expect(taken(limiter, 'a', 100)).toBe(1);
});

test.each([
  ['127.0.0.1', '127.0.0.1'],
  ['::ffff:127.0.0.1', '127.0.0.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:DB8:1:2::6', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('%s counts as %s', (address, source) => {
  expect(sourceOf(address)).toBe(source);
});
