import { expect, test } from 'vitest';
import { findProofs, renderPage, storedPage, unproven } from '../../tools/requirements.ts';

test('every promise has a test that names it, or a reason why not', () => {
  expect(unproven()).toEqual([]);
});

test('a promise without a test would be found', () => {
  const proofs = new Map(findProofs());
  proofs.delete('F1');
  expect(unproven(proofs)).toEqual(['F1']);
});

test('docs/requirements.md is what `npm run requirements` writes', () => {
  expect(storedPage()).toBe(renderPage());
});
