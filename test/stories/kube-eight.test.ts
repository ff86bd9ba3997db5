import { expect, test } from 'vitest';
import { KubeFleet, servedCa } from '../support/kube/kube-fleet.ts';

test('A1: eight replicas start at once on an empty namespace: one CA Secret, created once, never updated, the same bytes from all', async () => {
  await using fleet = await KubeFleet.start();
  // Slow enough that all of them find nothing before the first has created it.
  fleet.api.fail({ verb: 'create', name: 'casecret' }, { delayMs: 2_000 });
  const replicas = await fleet.start(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
  expect(fleet.writesOf('casecret')).toEqual(['create']);
  expect(
    fleet.api.calls.filter(({ verb, name }) => verb === 'create' && name === 'casecret').length,
  ).toBeGreaterThan(1);
  for (const replica of replicas)
    expect((await servedCa(replica)).equals(fleet.data('casecret', 'cadata'))).toBe(true);
});
