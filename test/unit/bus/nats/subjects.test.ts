import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeToken, encodeToken, Subjects } from '../../../../src/bus/nats/subjects.ts';

const subjects = new Subjects('sallyport');
const route = { group: 'resource', source: 'edged', operation: 'update' };

test('any text becomes one token of a subject, and comes back the same', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (raw) => {
      // A lone surrogate has no UTF-8.
      const text = raw.toWellFormed();
      const token = encodeToken(text);
      expect(token).toMatch(/^[A-Za-z0-9_=-]+$/);
      if (!token.startsWith('==')) expect(decodeToken(token)).toBe(text);
    }),
  );
});

test('different texts never share a token', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 600 }), fc.string({ maxLength: 600 }), (a, b) => {
      expect(encodeToken(a) === encodeToken(b)).toBe(a === b);
    }),
  );
});

test('dots, wildcards, spaces and the empty text are encoded as docs/protocol.md says', () => {
  expect(encodeToken('edge-1')).toBe('edge-1');
  expect(encodeToken('rack.7')).toBe('rack=2E7');
  expect(encodeToken('a *>b')).toBe('a=20=2A=3Eb');
  expect(encodeToken('ü')).toBe('=C3=BC');
  expect(encodeToken('')).toBe('=');
  for (const token of ['a.b', 'a*', '=2e', '=2', '', '==abc', '=FF'])
    expect(decodeToken(token)).toBeUndefined();
});

test('a message of an edge has its kind and its resource in its subject', () => {
  expect(subjects.up('rack.7', { ...route, resource: 'node/rack.7/default/podstatus/p.1' })).toBe(
    'sallyport.up.rack=2E7.resource.edged.update.default.podstatus.p=2E1',
  );
  expect(subjects.up('edge-1', {})).toBe('sallyport.up.edge-1.=.=.=.=');
  expect(subjects.nodeOf('sallyport.up.rack=2E7.resource.edged.update.x')).toBe('rack.7');
  expect(subjects.nodeOf('other.up.edge-1')).toBeUndefined();
});

test('subjects stay short, however long the resource is', () => {
  const long = 'r'.repeat(4_096);
  const deep = Array.from({ length: 100 }, () => 'a').join('/');
  for (const resource of [long, deep, `x/${long}`])
    expect(subjects.up('e', { ...route, resource, group: 'ü'.repeat(256) }).length).toBeLessThan(2_500);
  expect(subjects.up('e', { ...route, resource: `${long}1` })).not.toBe(
    subjects.up('e', { ...route, resource: `${long}2` }),
  );
});

test('outcomes go to inboxes and to replicas, and nowhere else the hub may speak', () => {
  expect(subjects.mayReceiveOutcomes('_INBOX.abc.1')).toBe(true);
  expect(subjects.mayReceiveOutcomes(subjects.outcome('replica', '1'))).toBe(true);
  for (const subject of [
    '$JS.API.STREAM.DELETE.sallyport-up',
    'sallyport.down.edge-1',
    '_INBOX.>',
    '_INBOX.a b',
  ])
    expect(subjects.mayReceiveOutcomes(subject)).toBe(false);
});
