import { expect, test } from 'vitest';
import { live, nameOf, PURPOSES, rights, shipped } from '../support/kube/role-deeds.ts';

test('A6: with the shipped Role everything works, and nothing was asked for that it does not grant', async () => {
  expect(await live(shipped)).toEqual(new Map());
});

test('A6: the purpose of every right of the shipped Role is known', () => {
  expect(rights.map(nameOf).sort()).toEqual(Object.keys(PURPOSES).sort());
});
