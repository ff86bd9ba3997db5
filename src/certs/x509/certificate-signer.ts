import 'reflect-metadata';
import { createHash, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** What a certificate shall say. Dates are cut to whole seconds, which is all X.509 holds. */
export interface CertificateContent {
  /**
   * RDNs in their order, such as `[{ O: ['system:nodes'] }, { CN: ['system:node:edge-1'] }]`, or a name that
   * is kept byte for byte.
   */
  readonly subject: x509.JsonName | x509.Name;
  /** SPKI, DER. */
  readonly publicKey: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Extensions besides the key identifiers. */
  readonly extensions: readonly x509.Extension[];
  /** Subject key identifier, hexadecimal, of a key that has one already; computed by default. */
  readonly keyId?: string;
}

export interface Signer {
  readonly key: KeyObject;
  /** The signer's certificate; undefined for a certificate that signs itself. */
  readonly certificate: X509Certificate | undefined;
}

/**
 * Signs a certificate: random positive 16-byte serial (RFC 5280 section 4.1.2.2, unpredictable as the
 * CA/Browser baseline asks), subject and authority key identifiers, the issuer's name in the issuer's own
 * bytes (Go compares names byte for byte).
 * @param signer EC P-256 or P-384, or RSA
 */
export async function signCertificate(content: CertificateContent, signer: Signer): Promise<X509Certificate> {
  const publicKey = new x509.PublicKey(content.publicKey);
  const subject = content.subject instanceof x509.Name ? content.subject : new x509.Name(content.subject);
  const issuer = signer.certificate && new x509.X509Certificate(signer.certificate.raw);
  const issuerKeyId = issuer ? await keyIdentifierOf(issuer) : await keyIdentifier(publicKey);
  const { algorithm, hash } = signatureOf(signer.key);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject,
    issuer: issuer?.subjectName ?? subject,
    notBefore: wholeSeconds(content.notBefore),
    notAfter: wholeSeconds(content.notAfter),
    publicKey,
    signingKey: signer.key.toCryptoKey(algorithm, false, ['sign']),
    signingAlgorithm: { name: algorithm.name, hash },
    extensions: [
      ...content.extensions,
      new x509.SubjectKeyIdentifierExtension(content.keyId ?? (await keyIdentifier(publicKey))),
      new x509.AuthorityKeyIdentifierExtension(issuerKeyId),
    ],
  });
  return new X509Certificate(Buffer.from(certificate.rawData));
}

export function sha256Hex(...parts: readonly (Uint8Array | string)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/** What the certificate says of its key, or what it would say. */
export async function keyIdentifierOf(certificate: x509.X509Certificate): Promise<string> {
  return (
    certificate.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId ??
    (await keyIdentifier(certificate.publicKey))
  );
}

/** Method 1 of RFC 5280 section 4.2.1.2, SHA-1 of the key bits: an identifier, no security rests on it. */
async function keyIdentifier(key: x509.PublicKey): Promise<string> {
  return Buffer.from(await key.getKeyIdentifier()).toString('hex');
}

/** The hash fits the strength of the key (NIST SP 800-57 part 1, table 3). */
export function signatureOf(key: KeyObject): {
  algorithm: { name: string; namedCurve: string } | { name: string; hash: string };
  hash: string;
} {
  if (key.asymmetricKeyType === 'rsa')
    return { algorithm: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, hash: 'SHA-256' };
  const p384 = key.asymmetricKeyDetails?.namedCurve === 'secp384r1';
  return {
    algorithm: { name: 'ECDSA', namedCurve: p384 ? 'P-384' : 'P-256' },
    hash: p384 ? 'SHA-384' : 'SHA-256',
  };
}

/** Top bits 01: positive, and always sixteen bytes. */
function randomSerial(): string {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  return serial.toString('hex');
}

function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000);
}
