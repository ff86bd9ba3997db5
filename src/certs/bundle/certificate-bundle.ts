import type { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { CaCertificate, CertificateBundle } from '../../contracts/certificate-source.ts';
import type { Secret } from '../../contracts/secret-store.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import { bridgesFrom } from '../ca/ca-roles.ts';
import { type CertificateAuthority, toCaCertificate } from '../ca/certificate-authority.ts';
import type { AdvertisedNames } from '../x509/advertised-names.ts';
import { parseCertificates } from '../x509/certificate-chain.ts';
import { namesOf, oneLine } from '../x509/certificate-names.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';
import { checkHubCertificate, isTlsSecret, readHubCertificate } from './hub-certificate.ts';

export interface BundleParts {
  /** The CA that issues. */
  readonly ca: CertificateAuthority;
  /** The other CA of a rollover: trusted as well, and the hub certificate may be from it. */
  readonly partner?: X509Certificate | undefined;
  /** Served behind the chain where they continue it. */
  readonly bridges?: readonly X509Certificate[];
  readonly hub: Secret;
  /** Further CAs whose edges are accepted. */
  readonly trust: readonly X509Certificate[];
  readonly names: AdvertisedNames;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * Builds the bundle from its parts and checks it whole; there is no such thing as a half-valid bundle. Pure.
 *
 * The hub certificate must chain to the CA that `/ca.crt` hands out, or to the other one of a rollover; one
 * that somebody else keeps (`kubernetes.io/tls`) may also chain to a CA of the trust Secret. `ca.crt` beside
 * it vouches for nothing: else every wrong CA would bring its own voucher (B6).
 * @throws BUNDLE_INVALID, CA_INVALID
 */
export function buildBundle({
  ca,
  partner,
  bridges = [],
  hub,
  trust,
  names,
  now,
}: BundleParts): CertificateBundle {
  const stored = readHubCertificate(hub);
  const own = partner ? [ca.x509, partner] : [ca.x509];
  const anchors = isTlsSecret(hub) ? [...own, ...trust] : own;
  const { path, served, anchor } = checkHubCertificate(stored, { anchors, names, now });
  const { leaf } = stored;
  checkCaDates(ca, now);
  const cert = [...served, ...bridgesFrom(anchor, bridges, now)].map(String).join('');
  const key = stored.key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const clientCAs = trusted(ca, partner ? [partner, ...trust] : trust);
  checkWithOpenSsl({ cert, key, ca: clientCAs.map(({ pem }) => pem) });
  return Object.freeze({
    fingerprint: fingerprint([cert, key, ca.certificate.sha256, ...clientCAs.map(({ sha256 }) => sha256)]),
    server: {
      cert,
      key,
      sha256: sha256Hex(leaf.raw),
      serial: leaf.serialNumber,
      notBefore: leaf.validFromDate,
      notAfter: leaf.validToDate,
      names: namesOf(leaf),
      issuer: oneLine(leaf.issuer),
    },
    ca: ca.certificate,
    clientCAs,
    notAfter: new Date(Math.min(...path.map(({ validToDate }) => validToDate.getTime()))),
  });
}

/**
 * The CAs of the trust Secret: any number of keys, each PEM or DER with any number of certificates. No
 * Secret, no further CAs.
 * @throws SECRET_MALFORMED
 */
export function readClientTrust(secret: Secret | undefined): X509Certificate[] {
  return Object.entries(secret?.data ?? {}).flatMap(([key, bytes]) => {
    const malformed = (problem: string, cause?: unknown) =>
      new SallyportError('SECRET_MALFORMED', { secret: secret!.name, problem }, cause);
    try {
      const certificates = parseCertificates(bytes, key);
      const leaf = certificates.find((certificate) => !certificate.ca);
      if (leaf) throw malformed(`${key} holds ${oneLine(leaf.subject)}, which is no CA (basicConstraints)`);
      return certificates;
    } catch (error) {
      throw error instanceof SallyportError && error.code === 'SECRET_MALFORMED'
        ? error
        : malformed(describeError(error), error);
    }
  });
}

/** The CA itself first, then all others in a fixed order, so that every replica has the same fingerprint. */
function trusted(ca: CertificateAuthority, trust: readonly X509Certificate[]): CaCertificate[] {
  const others = new Map<string, CaCertificate>();
  for (const certificate of [...ca.all.filter((one) => one.ca), ...trust]) {
    const other = toCaCertificate(certificate);
    if (other.sha256 !== ca.certificate.sha256) others.set(other.sha256, other);
  }
  return [ca.certificate, ...[...others.values()].sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1))];
}

function checkCaDates(ca: CertificateAuthority, now: number): void {
  const { notBefore, notAfter } = ca.certificate;
  const refuse = (problem: string) => new SallyportError('CA_INVALID', { secret: ca.secretName, problem });
  if (now >= notAfter.getTime()) throw refuse(`it expired at ${notAfter.toISOString()}`);
  if (now < notBefore.getTime()) throw refuse(`it is not valid before ${notBefore.toISOString()}`);
}

/**
 * What OpenSSL would refuse at the swap (a signature hash that is too weak, for one) is refused before it.
 */
function checkWithOpenSsl(options: { cert: string; key: string; ca: string[] }): void {
  try {
    createSecureContext(options);
  } catch (error) {
    throw new SallyportError(
      'BUNDLE_INVALID',
      { reason: 'malformed', problem: `OpenSSL refuses it: ${describeError(error)}` },
      error,
    );
  }
}

/** Each part is hashed by itself first, so that no two different lists of parts run together into one. */
function fingerprint(parts: readonly string[]): string {
  return sha256Hex(...parts.map((part) => sha256Hex(part)));
}
