import 'reflect-metadata';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { describe, expect, test } from 'vitest';
import { CertificateAuthority } from '../../../../src/certs/ca/certificate-authority.ts';
import { parseAdvertisedNames } from '../../../../src/certs/x509/advertised-names.ts';
import { signCertificate } from '../../../../src/certs/x509/certificate-signer.ts';
import type { Secret } from '../../../../src/contracts/secret-store.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { mint, mintCa, OID } from '../../../support/pki/pki.ts';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const clock = new ManualClock();
const names = parseAdvertisedNames(['lb.example.com', '10.0.0.1', 'fd00::1', '']);

function edgeKey(type: 'ec' | 'rsa' = 'ec'): Uint8Array {
  const pair =
    type === 'ec'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return pair.publicKey.export({ type: 'spki', format: 'der' });
}

function edge(ca: CertificateAuthority, overrides: { days?: number; publicKey?: Uint8Array } = {}) {
  return ca.issueEdge({
    publicKey: edgeKey(),
    nodeName: 'edge-1',
    usages: ['clientAuth'],
    days: 365,
    backdateMs: HOUR_MS,
    ...overrides,
  });
}

async function kubeEdgeSecret(): Promise<Secret> {
  const ca = await mintCa({ serial: '0400', keyIdentifiers: false });
  const cakeydata = ca.privateKey.export({ type: 'sec1', format: 'der' });
  return { name: 'casecret', data: { cadata: ca.der, cakeydata } };
}

describe('a new CA', () => {
  test('is named as KubeEdge names its own, may sign certificates and lists, and lasts as long as asked', async () => {
    const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
    const certificate = new x509.X509Certificate(ca.certificate.der);
    expect(certificate.subject).toBe('CN=KubeEdge');
    const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags;
    expect(certificate.getExtension(x509.KeyUsagesExtension)?.usages).toBe(
      keyCertSign | cRLSign | digitalSignature,
    );
    expect(certificate.getExtension(x509.BasicConstraintsExtension)).toMatchObject({
      ca: true,
      critical: true,
    });
    expect(ca.certificate.notAfter.getTime()).toBe(clock.now() + 3650 * DAY_MS);
    expect(ca.x509.verify(ca.x509.publicKey)).toBe(true);
    expect(ca.x509.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
  });

  test('goes into a Secret in the encodings of KubeEdge, and comes back the same', async () => {
    const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
    const secret = ca.toSecret('casecret');
    expect(Object.keys(secret.data)).toEqual(['cadata', 'cakeydata']);
    expect(secret.data.cadata).toEqual(ca.certificate.der);
    const again = CertificateAuthority.fromSecret(secret, { clock });
    expect(again.certificate).toEqual(ca.certificate);
    expect(again.rawKey).toEqual(ca.rawKey);
    expect((await edge(again)).der.length).toBeGreaterThan(100);
  });
});

describe('an edge certificate', () => {
  test('D2: names the node and nothing else, for the usages asked for', async () => {
    const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
    const issued = await edge(ca);
    const certificate = new x509.X509Certificate(issued.der);
    expect(certificate.subject).toBe('O=system:nodes, CN=system:node:edge-1');
    expect(certificate.getExtension(x509.ExtendedKeyUsageExtension)?.usages).toEqual([OID.clientAuth]);
    expect(certificate.getExtension(x509.SubjectAlternativeNameExtension)).toBeNull();
    expect(certificate.getExtension(x509.BasicConstraintsExtension)?.ca).toBe(false);
    expect(issued.serial).toBe(new X509Certificate(issued.der).serialNumber);
    expect(issued.notAfter.getTime()).toBe(clock.now() + 365 * DAY_MS);
  });

  test('has a random positive serial of sixteen bytes', async () => {
    const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
    const serials = await Promise.all(Array.from({ length: 20 }, async () => (await edge(ca)).serial));
    expect(new Set(serials).size).toBe(20);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
  });

  test('B8: begins at least an hour back, as the CA does', async () => {
    const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
    expect(new X509Certificate((await edge(ca)).der).validFromDate.getTime()).toBe(clock.now() - HOUR_MS);
    expect(ca.certificate.notBefore.getTime()).toBe(clock.now() - HOUR_MS);
  });

  test('refuses a name that is none', async () => {
    const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
    const publicKey = edgeKey();
    for (const nodeName of ['', 'Edge', 'a,CN=system:node:b', 'a\0b'])
      await expect(
        ca.issueEdge({ publicKey, nodeName, usages: ['clientAuth'], days: 1, backdateMs: 0 }),
      ).rejects.toMatchObject({ code: 'NODE_NAME_INVALID' });
  });
});

test('B4: no leaf outlives the CA, and an expired CA issues nothing', async () => {
  const time = new ManualClock();
  const ca = await CertificateAuthority.create({ clock: time }, { days: 30 });
  expect((await edge(ca)).notAfter).toEqual(ca.certificate.notAfter);
  const { certDer } = await ca.issueServer({ names, days: 90, backdateMs: HOUR_MS });
  expect(new X509Certificate(certDer).validToDate).toEqual(ca.certificate.notAfter);
  await time.advance(31 * DAY_MS);
  await expect(edge(ca)).rejects.toMatchObject({ code: 'CA_INVALID' });
});

test('B2: a hub certificate names DNS and IP addresses, v4 and v6, each in its kind', async () => {
  const ca = await CertificateAuthority.create({ clock }, { days: 3650 });
  const { certDer, keySec1Der } = await ca.issueServer({ names, days: 90, backdateMs: HOUR_MS });
  const certificate = new X509Certificate(certDer);
  expect(certificate.subjectAltName).toBe(
    'DNS:lb.example.com, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1',
  );
  expect(certificate.checkHost('lb.example.com')).toBe('lb.example.com');
  expect(certificate.checkIP('fd00::1')).toBe('fd00::1');
  expect(new x509.X509Certificate(certDer).getExtension(x509.ExtendedKeyUsageExtension)?.usages).toEqual([
    OID.serverAuth,
  ]);
  expect(keySec1Der[0]).toBe(0x30);
});

test('C2: leaves of a KubeEdge CA without key identifiers carry its name in its own bytes and verify', async () => {
  const secret = await kubeEdgeSecret();
  const ca = CertificateAuthority.fromSecret(secret, { clock });
  const leaf = new X509Certificate((await edge(ca)).der);
  expect(leaf.verify(ca.x509.publicKey)).toBe(true);
  expect(leaf.checkIssued(ca.x509)).toBe(true);
  const issuer = new x509.X509Certificate(leaf.raw).issuerName.toArrayBuffer();
  expect(Buffer.from(issuer)).toEqual(
    Buffer.from(new x509.X509Certificate(secret.data.cadata!).subjectName.toArrayBuffer()),
  );
  expect(ca.rawKey).toEqual(secret.data.cakeydata);
  expect(ca.toSecret('casecret').data).toEqual(secret.data);
});

describe('A7: CAs of other kinds sign', () => {
  test.each([
    ['EC P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['RSA 2048', () => generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ] as const)('%s', async (_, makeKey) => {
    const { privateKey, publicKey } = makeKey();
    const foreign = await selfSigned(privateKey, publicKey);
    const cakeydata = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const ca = CertificateAuthority.fromSecret(
      { name: 'casecret', data: { cadata: foreign, cakeydata } },
      { clock },
    );
    for (const kind of ['ec', 'rsa'] as const) {
      const leaf = new X509Certificate((await edge(ca, { publicKey: edgeKey(kind) })).der);
      expect(leaf.verify(ca.x509.publicKey)).toBe(true);
      expect(leaf.checkIssued(ca.x509)).toBe(true);
    }
  });
});

describe('A3: a CA Secret that is not usable gives an error that names Secret and key', () => {
  test('a key is missing or empty', async () => {
    const { data } = await kubeEdgeSecret();
    for (const key of ['cadata', 'cakeydata'])
      for (const value of [{}, { [key]: new Uint8Array() }]) {
        const { [key]: _, ...others } = data;
        expect(() =>
          CertificateAuthority.fromSecret({ name: 'casecret', data: { ...others, ...value } }),
        ).toThrow(`secret casecret lacks the key ${key}`);
      }
  });

  test('the certificate or the key is garbage', async () => {
    const { data } = await kubeEdgeSecret();
    const garbage = Buffer.from('not what you think');
    expect(() =>
      CertificateAuthority.fromSecret({ name: 'casecret', data: { ...data, cadata: garbage } }),
    ).toThrow(/secret casecret is not usable: cadata is not a certificate/);
    expect(() =>
      CertificateAuthority.fromSecret({ name: 'casecret', data: { ...data, cakeydata: garbage } }),
    ).toThrow(/cakeydata of secret casecret is not a private key/);
  });

  test('key and certificate do not belong together, or the certificate is no CA', async () => {
    const { data } = await kubeEdgeSecret();
    const other = await kubeEdgeSecret();
    expect(() =>
      CertificateAuthority.fromSecret({
        name: 'casecret',
        data: { ...data, cakeydata: other.data.cakeydata! },
      }),
    ).toThrow(/the CA in secret casecret is not usable: cakeydata does not belong/);
    const leaf = await mint();
    expect(() =>
      CertificateAuthority.fromSecret({
        name: 'casecret',
        data: { cadata: leaf.der, cakeydata: Buffer.from(leaf.key) },
      }),
    ).toThrow(/no CA/);
  });
});

async function selfSigned(
  privateKey: ReturnType<typeof generateKeyPairSync>['privateKey'],
  publicKey: ReturnType<typeof generateKeyPairSync>['publicKey'],
): Promise<Uint8Array> {
  const { der } = signCertificate(
    {
      subject: [['CN', 'foreign']],
      publicKey: publicKey.export({ type: 'spki', format: 'der' }),
      notBefore: new Date(clock.now() - HOUR_MS),
      notAfter: new Date(clock.now() + 3650 * DAY_MS),
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
    },
    { key: privateKey, certificate: undefined },
  );
  return der;
}
