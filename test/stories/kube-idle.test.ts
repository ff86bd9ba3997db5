import { expect, test } from 'vitest';
import { countCalls } from '../support/kube/kube-idle.ts';

const MINUTES = 10;

test('idle, a gateway costs the API one read a minute a Secret, no write, and no storm of watches or connections', async () => {
  const { start, idle } = await countCalls({ idleMs: MINUTES * 60_000 });
  const most = MINUTES + 1;
  const FOLLOWED = ['casecret', 'cloudcoresecret', 'sallyport-trust'];
  expect([...idle.calls.keys()].filter((call) => !/^(list|watch|get) /.test(call))).toEqual([]);
  for (const secret of FOLLOWED) {
    const reads = (idle.calls.get(`list ${secret}`) ?? 0) + (idle.calls.get(`get ${secret}`) ?? 0);
    expect(reads).toBeGreaterThanOrEqual(MINUTES - 1);
    // Each watch that ends is begun anew without a list.
    expect(reads).toBeLessThanOrEqual(most);
    expect(idle.calls.get(`watch ${secret}`)).toBeLessThanOrEqual(2);
  }
  expect(idle.calls.get('get tokensecret')).toBeLessThanOrEqual(most);
  expect(idle.calls.get('get sallyport-tokens') ?? 0).toBeLessThanOrEqual(most);
  expect(idle.connections).toBeLessThanOrEqual(5);
  expect([...start.calls.values()].reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(30);
});

test('R6: idle beside full Secrets, a gateway reads at most 1 MB a minute', async () => {
  const { idle } = await countCalls({ idleMs: 3 * 60_000, fillTo: 1_000_000 });
  expect(idle.bytes / 3).toBeLessThanOrEqual(1_000_000);
});
