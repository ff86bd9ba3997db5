import 'reflect-metadata';
import { createHash, type KeyObject, randomBytes, sign, type X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { contextTag, DerReader, der, integer, nothing, octets, oid, sequence, TAG } from '../../core/der.ts';
import { type DistinguishedName, encodeDistinguishedName } from '../../core/distinguished-name.ts';
import {
  computeKeyIdentifier,
  keyIdentifierExtension,
  readKeyIdentifier,
} from '../../core/key-identifier.ts';

/** What a certificate shall say. Dates are cut to whole seconds, which is all X.509 holds. */
export interface CertificateContent {
  /** A `Name` is kept byte for byte. */
  readonly subject: DistinguishedName | x509.Name;
  /** SPKI, DER. */
  readonly publicKey: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Extensions besides the key identifiers. */
  readonly extensions: readonly x509.Extension[];
  /** Subject key identifier of a key that has one already; computed by default. */
  readonly keyId?: Uint8Array;
}

export interface SignedCertificate {
  readonly der: Buffer;
  /** Hexadecimal, in capitals, as Node writes it. */
  readonly serial: string;
  /** Both in whole seconds. */
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export interface Signer {
  readonly key: KeyObject;
  /** The signer's certificate; undefined for a certificate that signs itself. */
  readonly certificate: X509Certificate | undefined;
}

/** OIDs of RFC 5280 section 4.2.1.1, RFC 5758 section 3.2 and RFC 4055 section 5. */
const AUTHORITY_KEY_IDENTIFIER = oid('2.5.29.35');
const ECDSA_WITH_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));
const ECDSA_WITH_SHA384 = sequence(oid('1.2.840.10045.4.3.3'));
const RSA_WITH_SHA256 = sequence(oid('1.2.840.113549.1.1.11'), nothing());
const VERSION_3 = der(contextTag(0), integer(2));
const EXTENSIONS = contextTag(3);
/** The last year of UTCTime (RFC 5280 section 4.1.2.5). */
const LAST_UTC_TIME_YEAR = 2049;

/** What is the same in all that one certificate signs. */
const issuers = new WeakMap<X509Certificate, { readonly name: Buffer; readonly keyId: Buffer }>();

/**
 * Signs a certificate (RFC 5280 section 4.1): random positive 16-byte serial (section 4.1.2.2, unpredictable
 * as the CA/Browser baseline asks), subject and authority key identifiers, the issuer's name in the issuer's
 * own bytes (Go compares names byte for byte). It is put together here: the library's generator, which reads
 * again what it wrote, takes 60 times as long, and a fleet that comes back waits for it.
 * @param signer EC P-256 or P-384, or RSA
 */
export function signCertificate(content: CertificateContent, signer: Signer): SignedCertificate {
  const subject =
    content.subject instanceof x509.Name
      ? Buffer.from(content.subject.toArrayBuffer())
      : encodeDistinguishedName(content.subject);
  const keyId = content.keyId ?? computeKeyIdentifier(content.publicKey);
  const issuer = signer.certificate ? issuerOf(signer.certificate) : { name: subject, keyId };
  const { hash, identifier } = signatureOf(signer.key);
  const serial = randomSerial();
  const [notBefore, notAfter] = [wholeSeconds(content.notBefore), wholeSeconds(content.notAfter)];
  const tbs = sequence(
    VERSION_3,
    der(TAG.integer, serial),
    identifier,
    issuer.name,
    sequence(time(notBefore), time(notAfter)),
    subject,
    content.publicKey,
    der(
      EXTENSIONS,
      sequence(
        ...content.extensions.map(({ rawData }) => Buffer.from(rawData)),
        keyIdentifierExtension(keyId),
        sequence(AUTHORITY_KEY_IDENTIFIER, octets(sequence(der(contextTag(0, 'primitive'), issuer.keyId)))),
      ),
    ),
  );
  const signature = sign(hash.replace('-', ''), tbs, signer.key);
  return {
    der: sequence(tbs, identifier, der(TAG.bitString, Buffer.of(0), signature)),
    serial: serial.toString('hex').toUpperCase(),
    notBefore,
    notAfter,
  };
}

function issuerOf(certificate: X509Certificate) {
  let issuer = issuers.get(certificate);
  if (!issuer) {
    issuer = { name: subjectOf(certificate), keyId: keyIdentifierOf(certificate) };
    issuers.set(certificate, issuer);
  }
  return issuer;
}

export function sha256Hex(...parts: readonly (Uint8Array | string)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/** What the certificate says of its key, or what it would say. */
export function keyIdentifierOf({ raw, publicKey }: X509Certificate): Buffer {
  return readKeyIdentifier(raw) ?? computeKeyIdentifier(publicKey.export({ type: 'spki', format: 'der' }));
}

/** The name as the certificate holds it, DER. */
function subjectOf({ raw }: X509Certificate): Buffer {
  const tbs = new DerReader(raw).enter().enter();
  for (const _field of ['version', 'serial number', 'algorithm', 'issuer', 'validity']) tbs.skip();
  return tbs.whole();
}

/** The hash fits the strength of the key (NIST SP 800-57 part 1, table 3). */
export function signatureOf(key: KeyObject): {
  readonly algorithm: { name: string; namedCurve: string } | { name: string; hash: string };
  readonly hash: 'SHA-256' | 'SHA-384';
  /** AlgorithmIdentifier, DER. */
  readonly identifier: Buffer;
} {
  if (key.asymmetricKeyType === 'rsa')
    return {
      algorithm: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
      hash: 'SHA-256',
      identifier: RSA_WITH_SHA256,
    };
  return key.asymmetricKeyDetails?.namedCurve === 'secp384r1'
    ? { algorithm: { name: 'ECDSA', namedCurve: 'P-384' }, hash: 'SHA-384', identifier: ECDSA_WITH_SHA384 }
    : { algorithm: { name: 'ECDSA', namedCurve: 'P-256' }, hash: 'SHA-256', identifier: ECDSA_WITH_SHA256 };
}

/** Top bits 01: positive, and always sixteen bytes. */
function randomSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  return serial;
}

function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000);
}

/** UTCTime or GeneralizedTime, whichever RFC 5280 section 4.1.2.5 asks for. */
function time(date: Date): Buffer {
  const digits = `${date.toISOString().slice(0, 19).replace(/\D/g, '')}Z`;
  return date.getUTCFullYear() > LAST_UTC_TIME_YEAR
    ? der(TAG.generalizedTime, Buffer.from(digits))
    : der(TAG.utcTime, Buffer.from(digits.slice(2)));
}
