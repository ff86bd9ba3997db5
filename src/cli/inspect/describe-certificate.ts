import { namesOf, oneLine } from '../../certs/x509/certificate-names.ts';
import 'reflect-metadata';
import type { X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { sha256Hex } from '../../certs/x509/certificate-signer.ts';
import { keyWeakness } from '../../certs/x509/private-key.ts';

/** What people want to know of a certificate. Times are ISO 8601. */
export interface CertificateDescription {
  readonly subject: string;
  readonly issuer: string;
  /** Upper-case hexadecimal. */
  readonly serial: string;
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly sha256: string;
  /** `EC prime256v1`, `RSA 2048`. */
  readonly key: string;
  readonly isCa: boolean;
  /** DNS names and IP addresses. */
  readonly names: readonly string[];
  readonly keyUsages: readonly string[];
  readonly extendedKeyUsages: readonly string[];
  readonly notBefore: string;
  readonly notAfter: string;
  /** Whole days until it ends; negative when it has. */
  readonly daysLeft: number;
  /** Part of its life that is over: 0 at notBefore, 1 at notAfter. */
  readonly lifeUsed: number;
  readonly subjectKeyId?: string;
  readonly authorityKeyId?: string;
  readonly selfSigned: boolean;
  readonly warnings: readonly string[];
}

const DAY_MS = 86_400_000;
/**
 * Clients on Apple's systems refuse server certificates that live longer (2019: 825 days); private CAs are
 * not exempt.
 */
const LONG_LEAF_MS = 825 * DAY_MS;
const EXTENDED: Readonly<Record<string, string>> = {
  '1.3.6.1.5.5.7.3.1': 'serverAuth',
  '1.3.6.1.5.5.7.3.2': 'clientAuth',
  '1.3.6.1.5.5.7.3.9': 'OCSPSigning',
  '2.5.29.37.0': 'anyExtendedKeyUsage',
};

/** @param now milliseconds since the epoch */
export function describeCertificate(certificate: X509Certificate, now: number): CertificateDescription {
  const parsed = new x509.X509Certificate(certificate.raw);
  const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
  const subjectKeyId = parsed.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  const authorityKeyId = parsed.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId;
  const facts = {
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    serial: certificate.serialNumber,
    sha256: sha256Hex(certificate.raw),
    key: keyName(certificate),
    isCa: certificate.ca,
    names: namesOf(certificate),
    keyUsages: keyUsages(parsed),
    extendedKeyUsages: (certificate.keyUsage ?? []).map((oid) => EXTENDED[oid] ?? oid),
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    daysLeft: Math.floor((to - now) / DAY_MS),
    lifeUsed: to > from ? Math.round(((now - from) / (to - from)) * 1000) / 1000 : 1,
    ...(subjectKeyId ? { subjectKeyId } : {}),
    ...(authorityKeyId ? { authorityKeyId } : {}),
    selfSigned: isSelfSigned(certificate),
  };
  return { ...facts, warnings: warningsOf(certificate, facts, now) };
}

function warningsOf(
  certificate: X509Certificate,
  facts: Omit<CertificateDescription, 'warnings'>,
  now: number,
): string[] {
  const { isCa, keyUsages, names, extendedKeyUsages, subjectKeyId, authorityKeyId } = facts;
  const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()];
  const weakness = safely(() => keyWeakness(certificate.publicKey), 'a key that cannot be read');
  const isServer = !isCa && extendedKeyUsages.includes('serverAuth');
  const checks: readonly (readonly [boolean, string])[] = [
    [now >= to, `it expired at ${facts.notAfter}`],
    [now < from, `it is not valid before ${facts.notBefore}`],
    [now < to && now - from > (to - from) * 0.9, 'more than nine tenths of its life are over'],
    [weakness !== undefined, `Sallyport does not accept its key: ${weakness}`],
    [
      isCa && keyUsages.length > 0 && !keyUsages.includes('keyCertSign'),
      'a CA that may not sign certificates',
    ],
    [
      isCa && keyUsages.length > 0 && !keyUsages.includes('cRLSign'),
      'it may not sign a CRL, so /ca.crl is not served',
    ],
    [
      isCa && subjectKeyId === undefined,
      'without a key identifier: two CAs of one name can be told apart only by trying both',
    ],
    [isServer && names.length === 0, 'a server certificate without names: no client accepts it'],
    [
      isServer && to - from > LONG_LEAF_MS,
      'a server certificate for more than 825 days, which some clients refuse',
    ],
    [
      !isCa && facts.subject === facts.issuer && authorityKeyId === undefined,
      'it bears the name of its issuer and no key identifier: OpenSSL takes it for self-signed',
    ],
  ];
  return checks.flatMap(([holds, text]) => (holds ? [text] : []));
}

function keyName(certificate: X509Certificate): string {
  return safely(() => {
    const { asymmetricKeyType, asymmetricKeyDetails = {} } = certificate.publicKey;
    const { namedCurve, modulusLength } = asymmetricKeyDetails;
    return [asymmetricKeyType?.toUpperCase(), namedCurve ?? modulusLength].filter(Boolean).join(' ');
  }, 'unknown');
}

function keyUsages(parsed: x509.X509Certificate): string[] {
  const usages = parsed.getExtension(x509.KeyUsagesExtension)?.usages ?? 0;
  return Object.entries(x509.KeyUsageFlags).flatMap(([name, flag]) =>
    typeof flag === 'number' && (usages & flag) !== 0 ? [name] : [],
  );
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return safely(
    () => certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey),
    false,
  );
}

function safely<T>(task: () => T, otherwise: T): T {
  try {
    return task();
  } catch {
    return otherwise; // a key of a kind OpenSSL does not know
  }
}
