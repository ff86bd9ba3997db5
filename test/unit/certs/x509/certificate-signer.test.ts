import 'reflect-metadata';
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { describe, expect, test } from 'vitest';
import {
  type CertificateContent,
  type Signer,
  signatureOf,
  signCertificate,
} from '../../../../src/certs/x509/certificate-signer.ts';
import { readKeyIdentifier } from '../../../../src/core/key-identifier.ts';

const KEYS = {
  'EC P-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'EC P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'RSA 2048': () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const spkiOf = (key: KeyObject) => key.export({ type: 'spki', format: 'der' });
const signed = (content: CertificateContent, signer: Signer) =>
  new X509Certificate(signCertificate(content, signer).der);
const extensions = () => [new x509.BasicConstraintsExtension(true, undefined, true)];

describe.each(Object.entries(KEYS))('a certificate signed with %s', (_name, makeKeys) => {
  const keys = makeKeys();
  const content = {
    subject: [
      ['O', 'Zoë & Söhne'],
      ['CN', 'KubeEdge'],
    ] as const,
    publicKey: spkiOf(keys.publicKey),
    notBefore: new Date('2026-01-02T03:04:05.678Z'),
    notAfter: new Date('2062-12-31T23:59:59.999Z'),
    extensions: extensions(),
  };
  const root = signed(content, { key: keys.privateKey, certificate: undefined });

  test('says what the library’s generator says, byte for byte, but for its serial number', async () => {
    const { algorithm, hash } = signatureOf(keys.privateKey);
    const ours = new x509.X509Certificate(root.raw);
    const publicKey = new x509.PublicKey(content.publicKey);
    const name = new x509.Name(content.subject.map(([attribute, value]) => ({ [attribute]: [value] })));
    const theirs = await x509.X509CertificateGenerator.create({
      serialNumber: ours.serialNumber,
      subject: name,
      issuer: name,
      notBefore: new Date('2026-01-02T03:04:05Z'),
      notAfter: new Date('2062-12-31T23:59:59Z'),
      publicKey,
      signingKey: keys.privateKey.toCryptoKey(algorithm, false, ['sign']),
      signingAlgorithm: { name: algorithm.name, hash },
      extensions: [
        ...extensions(),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(publicKey),
      ],
    });
    const unsigned = (certificate: x509.X509Certificate) =>
      Buffer.from((certificate as unknown as { tbs: ArrayBuffer }).tbs).toString('hex');
    expect(unsigned(ours)).toBe(unsigned(theirs));
  });

  test('verifies, and so does what it signs in turn, which names it', () => {
    expect(root.verify(keys.publicKey)).toBe(true);
    const leafKeys = KEYS['EC P-256']();
    const leaf = signed(
      { ...content, subject: [['CN', 'leaf']], publicKey: spkiOf(leafKeys.publicKey), extensions: [] },
      { key: keys.privateKey, certificate: root },
    );
    expect(leaf.verify(root.publicKey)).toBe(true);
    expect(leaf.checkIssued(root)).toBe(true);
    const named = new x509.X509Certificate(leaf.raw).getExtension(x509.AuthorityKeyIdentifierExtension)!;
    expect(named.keyId).toBe(readKeyIdentifier(root.raw)!.toString('hex'));
  });
});

test('tells the serial number and the dates as they stand in the certificate', () => {
  const { privateKey, publicKey } = KEYS['EC P-256']();
  const content = {
    subject: [['CN', 'leaf']] as const,
    publicKey: spkiOf(publicKey),
    notBefore: new Date('2026-01-02T03:04:05.678Z'),
    notAfter: new Date('2027-01-02T03:04:05.999Z'),
    extensions: [],
  };
  const told = signCertificate(content, { key: privateKey, certificate: undefined });
  const read = new X509Certificate(told.der);
  expect(told.serial).toBe(read.serialNumber);
  expect(told.notBefore).toEqual(read.validFromDate);
  expect(told.notAfter).toEqual(read.validToDate);
});

test('names the issuer as the issuer names itself, and writes dates from 2050 on as GeneralizedTime', () => {
  const { privateKey, publicKey } = KEYS['EC P-256']();
  const certificate = (name: string, end: string, issuer?: X509Certificate) =>
    signed(
      {
        subject: [['CN', name]],
        publicKey: spkiOf(publicKey),
        notBefore: new Date(0),
        notAfter: new Date(end),
        extensions: [],
      },
      { key: privateKey, certificate: issuer },
    );
  const issuer = certificate('ÄÖ', '2049-12-31T23:59:59Z');
  const leaf = certificate('leaf', '2050-01-01T00:00:00Z', issuer);
  expect(leaf.issuer).toBe(issuer.subject);
  expect(issuer.validToDate.getUTCFullYear()).toBe(2049);
  expect(leaf.validToDate.getUTCFullYear()).toBe(2050);
  expect(issuer.raw.includes('491231235959Z')).toBe(true);
  expect(leaf.raw.includes('20500101000000Z')).toBe(true);
});
