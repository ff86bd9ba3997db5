import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readNodeSubject, subjectAttributes } from '../../../src/identity/subject.ts';
import { scaled } from '../../support/scale.ts';

test('D7: no text makes the reader throw, and only the exact form names a node', () => {
  const piece = fc.constantFrom(
    'O=',
    'CN=',
    'system:nodes',
    'system:node:',
    'a',
    '\n',
    ' + ',
    '\\',
    '\0',
    '+',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(piece, fc.string({ maxLength: 5 })), { maxLength: 12 }), (pieces) => {
      const reading = readNodeSubject(pieces.join(''));
      if (reading.kind === 'node')
        expect(pieces.join('').split('\n')).toEqual(
          expect.arrayContaining(['O=system:nodes', `CN=system:node:${reading.nodeName}`]),
        );
    }),
    { numRuns: scaled(2_000, 50) },
  );
});

test('an equals sign in a value is part of it', () => {
  expect(subjectAttributes('O=a=b\nCN=c')).toEqual(
    new Map([
      ['O', ['a=b']],
      ['CN', ['c']],
    ]),
  );
});

test('a subject without anything has no attributes and names nobody', () => {
  expect(subjectAttributes(undefined)).toEqual(new Map());
  expect(readNodeSubject('').kind).toBe('other');
});
