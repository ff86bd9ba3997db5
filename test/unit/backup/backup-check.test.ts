import { beforeAll, expect, test } from 'vitest';
import { checkBackup, coverNodes } from '../../../src/backup/backup-check.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import {
  backupOf,
  caSecret,
  listOf,
  revocation,
  revocationSecret,
  tokenSecret,
  trustSecret,
} from '../../support/pki/backups.ts';
import { mintCa, type Pair } from '../../support/pki/pki.ts';

const DAY_MS = 86_400_000;
const now = Date.now();
const clock = new ManualClock(now);
let ca: Pair;
let other: Pair;
beforeAll(async () => {
  [ca, other] = await Promise.all([mintCa(), mintCa()]);
});
const levelOf = (backup: ReturnType<typeof backupOf>, what: string, at = clock) =>
  checkBackup(backup, { clock: at }).findings.find((one) => one.what === what)?.level;

test('a whole backup is good, and all its CAs count', () => {
  const key = other.privateKey.export({ type: 'sec1', format: 'der' });
  const backup = backupOf([
    { role: 'ca', secret: caSecret(ca) },
    { role: 'trust', secret: trustSecret(other) },
    { role: 'revocations', secret: revocationSecret(listOf(revocation('edge-1'))) },
    { role: 'tokens', secret: tokenSecret() },
    {
      role: 'other',
      secret: { name: 'sallyport-rollover', data: { newcadata: other.der, newcakeydata: key } },
    },
  ]);
  const { findings, issuers, signing, revocationVersion } = checkBackup(backup, { clock });
  expect(findings.map(({ level }) => level)).toEqual(Array(5).fill('ok'));
  expect(issuers).toEqual(new Set([ca.sha256, other.sha256]));
  expect(signing).toEqual(new Set([ca.sha256, other.sha256]));
  expect(revocationVersion).toBe(1);
});

test('a key that belongs to another certificate is found', () => {
  const { cakeydata } = caSecret(other).data;
  const backup = backupOf([
    { role: 'ca', secret: { ...caSecret(ca), data: { cadata: ca.der, cakeydata: cakeydata! } } },
    {
      role: 'other',
      secret: { name: 'sallyport-rollover', data: { newcadata: ca.der, newcakeydata: cakeydata! } },
    },
  ]);
  expect(levelOf(backup, 'casecret')).toBe('bad');
  expect(levelOf(backup, 'sallyport-rollover')).toBe('bad');
  expect(checkBackup(backup, { clock }).ca).toBeUndefined();
});

test('damaged lists are found, and no value is quoted', () => {
  const secret = { 'revocations.json': Buffer.from('{"secret":"s3cr3t"') };
  const backup = backupOf([
    { role: 'ca', secret: caSecret(ca) },
    { role: 'revocations', secret: { name: 'sallyport-revocations', data: secret } },
    { role: 'tokens', secret: { name: 'sallyport-tokens', data: { hmacKey: Buffer.from('s3cr3t') } } },
  ]);
  expect(levelOf(backup, 'sallyport-revocations')).toBe('bad');
  expect(levelOf(backup, 'sallyport-tokens')).toBe('bad');
  expect(JSON.stringify(checkBackup(backup, { clock }).findings)).not.toContain('s3cr3t');
});

test('C5: a CA near its end is a warning, an expired one is no good', () => {
  const backup = backupOf([{ role: 'ca', secret: caSecret(ca) }]);
  expect(levelOf(backup, 'casecret')).toBe('ok');
  expect(levelOf(backup, 'casecret', new ManualClock(now + 3_500 * DAY_MS))).toBe('warn');
  expect(levelOf(backup, 'casecret', new ManualClock(now + 3_651 * DAY_MS))).toBe('bad');
  expect(levelOf(backup, 'casecret', new ManualClock(now - DAY_MS))).toBe('bad');
});

test('the nodes whose certificate chains to no CA of the backup are named', () => {
  const node = (name: string, issuer: Pair) => ({
    node: name,
    certificate: {
      serial: '1',
      sha256: '',
      issuer: 'CN=KubeEdge',
      issuerSha256: issuer.sha256,
      notAfter: '',
    },
  });
  const { issuers } = checkBackup(backupOf([{ role: 'ca', secret: caSecret(ca) }]), { clock });
  const coverage = coverNodes([node('edge-1', ca), node('edge-2', ca), node('edge-3', other)], issuers);
  expect(coverage).toMatchObject({ connected: 3, covered: 2 });
  expect(coverage.uncovered).toEqual([{ node: 'edge-3', issuer: 'CN=KubeEdge', issuerSha256: other.sha256 }]);
});
