import { createPrivateKey, X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { CertificateAuthority } from '../../../src/certs/ca/certificate-authority.ts';
import { asUpstreamAuthority } from '../../../src/gateway/relay.ts';
import { NodeCertificates } from '../../../src/relay/node-certificates.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { mintCa } from '../../support/pki/pki.ts';

const HOUR_MS = 3_600_000;

async function issuing() {
  const clock = new ManualClock();
  const now = clock.now();
  const dates = { notBefore: new Date(now - HOUR_MS), notAfter: new Date(now + 1_000 * HOUR_MS) };
  const authority = async () => {
    const ca = await mintCa(dates);
    const cakeydata = ca.privateKey.export({ type: 'sec1', format: 'der' });
    const secret = { name: 'casecret', data: { cadata: ca.der, cakeydata } };
    return { ca, authority: asUpstreamAuthority(CertificateAuthority.fromSecret(secret, { clock })) };
  };
  return { clock, authority, certificates: new NodeCertificates({ clock }) };
}

test('U1: CloudCore is shown the leaf alone, good for one hour, as the node and for clients only', async () => {
  const { clock, authority, certificates } = await issuing();
  const { ca, authority: by } = await authority();
  const { cert, key } = await certificates.of('edge-1', by);
  expect(cert.match(/BEGIN/g)).toHaveLength(1);
  const leaf = new X509Certificate(cert);
  expect(leaf.subject.split('\n')).toContain('CN=system:node:edge-1');
  expect(leaf.verify(ca.certificate.publicKey) && leaf.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(leaf.validToDate.getTime() - clock.now()).toBe(HOUR_MS);
  // CloudCore's clock may be behind.
  expect(leaf.validFromDate.getTime()).toBeLessThan(clock.now());
  expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
});

test('U1: it is made anew at half of its time, for another node, and for another CA; the key stays', async () => {
  const { clock, authority, certificates } = await issuing();
  const { authority: by } = await authority();
  const first = await certificates.of('edge-1', by);
  await clock.advance(HOUR_MS / 2);
  expect(await certificates.of('edge-1', by)).toEqual(first);
  await clock.advance(1);
  const others = [
    await certificates.of('edge-1', by),
    await certificates.of('edge-2', by),
    await certificates.of('edge-1', (await authority()).authority),
  ];
  expect(new Set([first, ...others].map(({ cert }) => cert)).size).toBe(4);
  expect(new Set([first, ...others].map(({ key }) => key)).size).toBe(1);
});

test('a CA that fails is asked again the next time', async () => {
  const { authority, certificates } = await issuing();
  const { authority: by } = await authority();
  const failing = { ...by, issueNode: () => Promise.reject(new Error('no')) };
  await expect(certificates.of('edge-1', failing)).rejects.toThrow('no');
  expect((await certificates.of('edge-1', by)).cert).toContain('BEGIN CERTIFICATE');
});
