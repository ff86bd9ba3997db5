import { isBuiltin } from 'node:module';
import { expect, test } from 'vitest';

test('this Node has no QUIC of its own; once it has, docs/decisions/quic-library.md says what may go', () => {
  const { quic } = process.features as { readonly quic?: boolean };
  expect([isBuiltin('node:quic'), quic ?? false]).toEqual([false, false]);
});
