import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AdminCertificateKeeper } from '../../../../src/certs/ca/admin-certificate-keeper.ts';
import { CertificateAuthority } from '../../../../src/certs/ca/certificate-authority.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';
import { FakeAudit } from '../../admin/admin-fixture.ts';

test('P1: the admin certificate is there after the start and renewed while the gateway runs, each with a line in the audit', async () => {
  const directory = temporaryFolder();
  const clock = new ManualClock(Date.now());
  const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
  const audit = new FakeAudit();
  const keeper = new AdminCertificateKeeper(
    { authority: () => ca, clock, log: silentLogger, audit },
    { directory, name: 'admin', role: 'operator', days: 30 },
  );
  await keeper.start();
  const serial = () => new X509Certificate(readFileSync(join(directory, 'admin.crt'))).serialNumber;
  const first = serial();
  await clock.advance(10 * 86_400_000);
  expect(serial()).toBe(first);
  await clock.advance(12 * 86_400_000);
  await expect.poll(serial).not.toBe(first);
  await keeper.stop();
  expect(audit.entries).toMatchObject([
    { action: 'admin-certificate-issued', who: 'gateway', facts: { role: 'operator', serial: first } },
    { action: 'admin-certificate-issued', who: 'gateway', facts: { role: 'operator', serial: serial() } },
  ]);
  expect(clock.pending).toBe(0);
});
