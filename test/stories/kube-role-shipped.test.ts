import { expect, test } from 'vitest';
import type { KubeCall } from '../support/kube/kube-api.ts';
import { live, nameOf, PURPOSES, rights, shipped } from '../support/kube/role-deeds.ts';

test('A6: with the shipped Role everything works, and it grants list and watch on no Secret that nobody lists and watches', async () => {
  const calls: KubeCall[] = [];
  expect(await live(shipped, undefined, calls)).toEqual(new Map());
  const asked = new Set(
    calls.map(({ verb, query }) => `${verb} ${query.get('fieldSelector')?.replace('metadata.name=', '')}`),
  );
  const granted = rights.flatMap(({ rule, verb }) =>
    verb === 'list' || verb === 'watch' ? rule.resourceNames!.map((name) => `${verb} ${name}`) : [],
  );
  expect(granted.filter((right) => !asked.has(right))).toEqual([]);
});

test('A6: the purpose of every right of the shipped Role is known', () => {
  expect(rights.map(nameOf).sort()).toEqual(Object.keys(PURPOSES).sort());
});
