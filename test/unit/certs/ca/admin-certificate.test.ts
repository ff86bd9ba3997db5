import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { adminFiles, ensureAdminCertificate } from '../../../../src/certs/ca/admin-certificate.ts';
import { CertificateAuthority } from '../../../../src/certs/ca/certificate-authority.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { AdminGate } from '../../../../src/identity/admin-gate.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';
import { FakeAudit } from '../../admin/admin-fixture.ts';

const DAY = 86_400_000;
let directory: string;
let clock: ManualClock;

beforeEach(() => {
  directory = join(temporaryFolder(), 'store');
  clock = new ManualClock();
});

const newCa = () => CertificateAuthority.create({ clock }, { days: 3650 });

async function ensure(authority: CertificateAuthority, audit = new FakeAudit()) {
  const files = await ensureAdminCertificate(
    { authority, clock, log: silentLogger, audit },
    { directory, name: 'admin', role: 'operator', days: 90 },
  );
  const certificate = new X509Certificate(await readFile(files.cert));
  return { certificate, key: await readFile(files.key, 'utf8'), ca: await readFile(files.ca, 'utf8') };
}

test('a certificate that the admin gate lets in, its key and the CA are written, readable by the owner alone', async () => {
  const authority = await newCa();
  const { certificate, ca } = await ensure(authority);
  expect(certificate.subject).toBe('O=sallyport:admins\nCN=admin');
  const gate = new AdminGate({ cas: () => [authority.certificate], clock });
  expect(gate.check(certificate)).toMatchObject({ ok: true, name: 'admin' });
  expect(ca).toBe(authority.certificate.pem);
  expect((await readdir(directory)).sort()).toEqual(['admin.crt', 'admin.key', 'ca.crt']);
  for (const file of Object.values(adminFiles(directory)))
    expect((await stat(file)).mode & 0o777).toBe(0o600);
});

test('what is good is kept; it is renewed with a third of its life left, for the same key', async () => {
  const authority = await newCa();
  const first = await ensure(authority);
  await clock.advance(59 * DAY);
  expect((await ensure(authority)).certificate.serialNumber).toBe(first.certificate.serialNumber);
  await clock.advance(2 * DAY);
  const renewed = await ensure(authority);
  expect(renewed.certificate.serialNumber).not.toBe(first.certificate.serialNumber);
  expect(renewed.key).toBe(first.key);
});

test('another CA, even of the same name, leads to another certificate', async () => {
  await ensure(await newCa());
  const next = await newCa();
  const { certificate, ca } = await ensure(next);
  expect(certificate.verify(next.x509.publicKey)).toBe(true);
  expect(ca).toBe(next.certificate.pem);
});

test.each(['admin.key', 'admin.crt', 'ca.crt'])('a damaged %s is mended', async (name) => {
  const authority = await newCa();
  await ensure(authority);
  await writeFile(join(directory, name), 'half a fi');
  const { certificate, key, ca } = await ensure(authority);
  expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(ca).toBe(authority.certificate.pem);
});

test('many gateways that start at once on one folder leave one key and a certificate that fits it', async () => {
  const authority = await newCa();
  await Promise.all(Array.from({ length: 8 }, () => ensure(authority)));
  const { certificate, key } = await ensure(authority);
  expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect((await readdir(directory)).sort()).toEqual(['admin.crt', 'admin.key', 'ca.crt']);
});

test('P1: no certificate is handed out that the audit could not be told of', async () => {
  const audit = new FakeAudit();
  audit.full = true;
  await expect(ensure(await newCa(), audit)).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
  expect(await readdir(directory)).not.toContain('admin.crt');
});
