import { expect, test } from 'vitest';
import { needsRenewal } from '../../../src/cli/renewal-need.ts';
import type { CertificateInfo } from '../../../src/contracts/certificate-issuer.ts';

const DAY_MS = 86_400_000;
const now = Date.UTC(2026, 5, 1);
const info = (
  kind: CertificateInfo['kind'],
  managed: boolean,
  [from, to]: readonly [number, number],
): CertificateInfo => ({
  kind,
  secret: 'a',
  subject: 'CN=a',
  issuer: 'CN=b',
  serial: '01',
  sha256: 'ab',
  notBefore: new Date(now + from * DAY_MS).toISOString(),
  notAfter: new Date(now + to * DAY_MS).toISOString(),
  names: [],
  managed,
  external: false,
});
const why = (one: CertificateInfo, withinMs?: number) =>
  needsRenewal([one], { now, renewFraction: 2 / 3, ...(withinMs === undefined ? {} : { withinMs }) })[0]?.why;

test('what renews itself needs nobody while it is on time, and somebody when it is overdue', () => {
  expect(why(info('hub', true, [-59, 31]))).toBeUndefined();
  expect(why(info('hub', true, [-70, 20]))).toBeUndefined();
  expect(why(info('hub', true, [-76, 14]))).toBe('it should have been renewed by itself');
});

test('what nobody renews by itself needs somebody 30 days before its end', () => {
  expect(why(info('ca', false, [-3000, 31]))).toBeUndefined();
  expect(why(info('ca', false, [-3000, 29]))).toContain('nobody renews it by itself');
  expect(why(info('hub', false, [-80, 10]))).toContain('nobody renews it by itself');
});

test('--within is the one measure for all', () => {
  expect(why(info('hub', true, [0, 90]), 91 * DAY_MS)).toBe('it ends soon');
  expect(why(info('ca', false, [-3000, 29]), 7 * DAY_MS)).toBeUndefined();
});

test('an expired one always counts, and the fleet token of a day never', () => {
  expect(why(info('hub', true, [-90, 0]))).toBe('it has expired');
  expect(why(info('client-ca', false, [-90, -1]), 1)).toBe('it has expired');
  expect(needsRenewal([info('fleet-token', true, [-1, 0])], { now, renewFraction: 0.5 })).toEqual([]);
});
