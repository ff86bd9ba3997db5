import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { expect, test } from 'vitest';
import { CertificateAuthority } from '../../../../src/certs/ca/certificate-authority.ts';
import { CrlPublisher } from '../../../../src/certs/revocation/crl-publisher.ts';
import { type RevocationDraft, RevocationList } from '../../../../src/certs/revocation/revocation-list.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { metric } from '../../../support/edges/messages.ts';
import { mintCa } from '../../../support/pki/pki.ts';

const HOUR_MS = 3_600_000;
const OTHER_CA = 'b'.repeat(64);
const draft = (target: RevocationDraft['target'], more: Partial<RevocationDraft> = {}): RevocationDraft => ({
  target,
  reason: 'keyCompromise',
  at: Date.UTC(2025, 11, 31),
  by: 'admin',
  ...more,
});

async function world(authority?: CertificateAuthority) {
  const clock = new ManualClock();
  const ca = authority ?? (await CertificateAuthority.create({ clock }, { days: 3650 }));
  const metrics = createMetrics({ process: false });
  const state = { list: RevocationList.EMPTY, trusted: [ca.certificate.sha256] };
  const publisher = () =>
    new CrlPublisher({
      clock,
      metrics,
      authority: () => ca,
      trusted: () => state.trusted,
      list: () => state.list,
    });
  return { clock, ca, metrics, state, publisher, sha256: ca.certificate.sha256 };
}

async function read(publisher: CrlPublisher) {
  const crl = new x509.X509Crl(Buffer.from((await publisher.current()).der));
  const number = crl.getExtension('2.5.29.20')!;
  return {
    crl,
    serials: crl.entries.map(({ serialNumber }) => serialNumber.toUpperCase().replace(/^0+/, '')),
    number: BigInt(`0x${Buffer.from(number.value).subarray(2).toString('hex')}`),
  };
}

test('the CRL names serials whose issuer is known, each once, and is signed by the CA', async () => {
  const { ca, state, publisher, sha256 } = await world();
  state.list = RevocationList.EMPTY.add(draft({ node: 'edge-1' }), [
    { serial: 'A1', issuerSha256: sha256 },
    { serial: 'A2', issuerSha256: OTHER_CA },
  ])
    .add(draft({ node: 'edge-2' }, { reason: 'certificateHold' }))
    .add(draft({ serial: 'A1' }, { reason: 'unspecified' }))
    .add(draft({ serial: 'B1' }, { reason: 'unspecified' }))
    .add(draft({ serial: 'B2', issuerSha256: OTHER_CA }))
    .add(draft({ serial: 'B3', issuerSha256: sha256 }, { reason: 'superseded' }));
  const { crl, serials } = await read(publisher());
  expect(serials.sort()).toEqual(['A1', 'B1', 'B3']);
  expect(await crl.verify({ publicKey: new x509.X509Certificate(ca.x509.raw).publicKey })).toBe(true);
  const other = await CertificateAuthority.create({ clock: new ManualClock() }, { days: 1 });
  expect(await crl.verify({ publicKey: new x509.X509Certificate(other.x509.raw).publicKey })).toBe(false);

  // With two CAs a bare serial may be of either.
  state.trusted = [sha256, OTHER_CA];
  expect((await read(publisher())).serials.sort()).toEqual(['A1', 'B3']);
});

test('replicas with one list make the same CRL; number and dates grow with the list and the hour', async () => {
  const { clock, state, publisher, metrics } = await world();
  const [one, two] = [publisher(), publisher()];
  const [first, same] = [await read(one), await read(two)];
  expect([same.number, same.crl.nextUpdate]).toEqual([first.number, first.crl.nextUpdate]);
  expect((await one.current()).der).toBe((await one.current()).der);

  state.list = state.list.add(draft({ serial: 'B1' }));
  const revoked = await read(one);
  expect(revoked.number > first.number).toBe(true);
  expect(revoked.serials).toEqual(['B1']);

  await clock.advance(HOUR_MS);
  const later = await read(one);
  expect(later.number > revoked.number).toBe(true);
  // Refreshed each hour of seven days: whoever fetches it has more than six days left.
  expect(later.crl.nextUpdate!.getTime() - clock.now()).toBeGreaterThan(6 * 24 * HOUR_MS);
  expect(later.crl.thisUpdate.getTime()).toBeLessThanOrEqual(clock.now());
  expect(await metric(metrics, 'crl_next_update_timestamp_seconds')).toBe(
    later.crl.nextUpdate!.getTime() / 1000,
  );

  state.list = state.list.lift({ serial: 'B1' });
  const lifted = await read(one);
  expect([lifted.serials, lifted.number > later.number]).toEqual([[], true]);
});

test("a CA without cRLSign, KubeEdge's, signs none, and the answer says why", async () => {
  const { der, privateKey } = await mintCa({ crlSign: false, keyIdentifiers: false });
  const cakeydata = privateKey.export({ type: 'sec1', format: 'der' });
  const { publisher } = await world(
    CertificateAuthority.fromSecret({ name: 'casecret', data: { cadata: der, cakeydata } }),
  );
  await expect(publisher().current()).rejects.toMatchObject({
    code: 'CRL_UNAVAILABLE',
    status: 404,
    message: expect.stringContaining('lacks the key usage cRLSign'),
  });
});
