import { expect, test } from 'vitest';
import { AdminGate } from '../../../src/identity/admin-gate.ts';
import { PeerGate } from '../../../src/identity/peer-gate.ts';
import { asCaCertificate, mint, mintCa, mintEdge, OID } from '../../support/pki/pki.ts';

const clock = { now: () => Date.now() };

test('an administrator is one, an edge is none, and an administrator is no edge', async () => {
  const ca = await mintCa();
  const trusted = asCaCertificate(ca);
  const trust = [trusted];
  const admins = new AdminGate({ cas: () => [trusted], clock });
  const edges = new PeerGate({ trust: () => trust, clock }, () => ({ allowLegacy: true, legacyNodes: {} }));
  const admin = await mint({ subject: 'O=sallyport:admins,CN=alice', issuer: ca, usages: [OID.clientAuth] });
  const edge = await mintEdge(ca, 'edge-1');

  expect(admins.check(admin.certificate)).toMatchObject({ ok: true, name: 'alice', role: 'operator' });
  expect(admins.check(edge.certificate)).toMatchObject({ ok: false, known: true });
  expect(edges.check(admin.certificate, [], 'edge-1')).toMatchObject({ ok: false, reason: 'no-node-name' });
  expect(admins.check(undefined)).toMatchObject({ ok: false, known: false, reason: 'no-certificate' });
});

test('the CA is the present one: after it changed, administrators of the old one are strangers', async () => {
  const [first, second] = [await mintCa(), await mintCa()];
  let ca = asCaCertificate(first);
  const gate = new AdminGate({ cas: () => [ca], clock });
  const admin = await mint({
    subject: 'O=sallyport:admins,CN=admin',
    issuer: first,
    usages: [OID.clientAuth],
  });
  expect(gate.check(admin.certificate).ok).toBe(true);
  ca = asCaCertificate(second);
  expect(gate.check(admin.certificate)).toMatchObject({ ok: false, known: false, reason: 'unknown-ca' });
});

test('a revoked administrator is out', async () => {
  const ca = await mintCa();
  const trusted = asCaCertificate(ca);
  const admin = await mint({ subject: 'O=sallyport:admins,CN=admin', issuer: ca, usages: [OID.clientAuth] });
  const gate = new AdminGate({
    cas: () => [trusted],
    clock,
    isRevoked: ({ sha256 }) =>
      sha256 === admin.sha256 ? { word: 'revoked', text: 'laptop lost' } : undefined,
  });
  expect(gate.check(admin.certificate)).toMatchObject({ ok: false, known: false, reason: 'revoked' });
});

test('P4: the organization says the role; any other, or two of them, is nobody', async () => {
  const ca = await mintCa();
  const trusted = asCaCertificate(ca);
  const gate = new AdminGate({ cas: () => [trusted], clock });
  const roleOf = async (organizations: string) => {
    const { certificate } = await mint({
      subject: `${organizations},CN=alice`,
      issuer: ca,
      usages: [OID.clientAuth],
    });
    const verdict = gate.check(certificate);
    return verdict.ok ? verdict.role : 'nobody';
  };
  expect(await roleOf('O=sallyport:viewers')).toBe('viewer');
  expect(await roleOf('O=sallyport:admins')).toBe('operator');
  for (const organizations of [
    'O=sallyport:auditors',
    'O=sallyport:viewer',
    'O=SALLYPORT:ADMINS',
    'O=constructor',
    'O=sallyport:viewers,O=sallyport:admins',
    'O=sallyport:admins,O=sallyport:viewers',
    'O=sallyport:viewers,O=sallyport:viewers',
  ])
    expect(await roleOf(organizations), organizations).toBe('nobody');
});
