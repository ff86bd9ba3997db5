import 'reflect-metadata';
import type { KeyObject, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { Secret } from '../../contracts/secret-store.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import type { AdvertisedNames } from '../x509/advertised-names.ts';
import { parseCertificates } from '../x509/certificate-chain.ts';
import { namesOf, oneLine } from '../x509/certificate-names.ts';
import { isIssuedBy, pathTo } from '../x509/issuer-path.ts';
import { parsePrivateKey } from '../x509/private-key.ts';

/**
 * Why a stored hub certificate is not used: field `reason` of BUNDLE_INVALID, and label of the reload metric.
 */
export type HubProblem =
  | 'missing'
  | 'malformed'
  | 'key-mismatch'
  | 'wrong-ca'
  | 'expired'
  | 'not-yet-valid'
  | 'wrong-usage'
  | 'names';

/** A hub certificate as stored, read but not yet believed. */
export interface HubCertificate {
  readonly leaf: X509Certificate;
  /** What stands after the leaf, roots left out. */
  readonly intermediates: readonly X509Certificate[];
  /** CAs of `ca.crt` that may close a gap in the chain. */
  readonly links: readonly X509Certificate[];
  readonly key: KeyObject;
}

export interface HubExpectations {
  /** CAs of which one must have issued the chain; each is tried by itself (requirement C2). */
  readonly anchors: readonly X509Certificate[];
  readonly names: AdvertisedNames;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const SERVER_AUTH = x509.ExtendedKeyUsage.serverAuth as string;
/** True for a Secret in cert-manager's form, which Sallyport follows and never writes (requirement A9). */
export function isTlsSecret(secret: Secret): boolean {
  if (secret.type === 'kubernetes.io/tls') return true;
  return secret.data['tls.crt'] !== undefined && secret.data.cloudcoredata === undefined;
}

/**
 * Reads `cloudcoredata` and `cloudcorekeydata` (KubeEdge), or `tls.crt` and `tls.key` with the CAs of
 * `ca.crt` as possible links.
 * @throws BUNDLE_INVALID with reason `malformed`
 */
export function readHubCertificate(secret: Secret): HubCertificate {
  const tls = isTlsSecret(secret);
  const certificate = tls ? 'tls.crt' : 'cloudcoredata';
  const keyName = tls ? 'tls.key' : 'cloudcorekeydata';
  const value = (key: string): Uint8Array => {
    const bytes = secret.data[key];
    if (bytes?.length) return bytes;
    throw new SallyportError('SECRET_KEY_MISSING', { secret: secret.name, key });
  };
  const what = (key: string) => `${key} of secret ${secret.name}`;
  try {
    const [leaf, ...others] = parseCertificates(value(certificate), what(certificate));
    const beside = tls ? secret.data['ca.crt'] : undefined;
    const links = beside?.length ? parseCertificates(beside, what('ca.crt')) : [];
    const key = parsePrivateKey(value(keyName), what(keyName));
    return { leaf, intermediates: others.filter(isLink), links: links.filter(isLink), key };
  } catch (error) {
    throw invalid('malformed', describeError(error), error);
  }
}

/**
 * Checks everything a TLS client would, and that the key belongs to it.
 * @returns `path`: the leaf and the way up to its CA, which is left out; `served`: the same, then the other
 * intermediates: one that is cross-signed leads clients to a CA they know and this hub does not (A8).
 * `anchor`: the CA
 * @throws BUNDLE_INVALID with the first reason
 */
export function checkHubCertificate(
  { leaf, intermediates, links, key }: HubCertificate,
  { anchors, names, now }: HubExpectations,
): { path: X509Certificate[]; served: X509Certificate[]; anchor: X509Certificate } {
  if (!leaf.checkPrivateKey(key))
    throw invalid('key-mismatch', 'the private key does not belong to the certificate');
  const ways = anchors.flatMap((anchor) => {
    const path = pathTo(anchor, leaf, [...intermediates, ...links]);
    return path ? [{ anchor, path }] : [];
  });
  const [way] = ways;
  if (!way) {
    const wanted = anchors.map(
      ({ subject, fingerprint256 }) => `${oneLine(subject)} (${fingerprint256.slice(0, 11)}…)`,
    );
    throw invalid('wrong-ca', `it was issued by ${oneLine(leaf.issuer)}, not by ${wanted.join(' or ')}`);
  }
  const { anchor, path } = way;
  for (const certificate of path) checkDates(certificate, now);
  if (!leaf.keyUsage?.includes(SERVER_AUTH))
    throw invalid('wrong-usage', 'its extended key usage lacks serverAuth');
  const missing = missingNames(leaf, names);
  if (missing.length > 0) throw invalid('names', `it does not name ${missing.join(', ')}`);
  return { path, served: [...path, ...intermediates.filter((one) => !path.includes(one))], anchor };
}

function missingNames(leaf: X509Certificate, { dns, ips }: AdvertisedNames): string[] {
  const own = new Set(namesOf(leaf).map((name) => name.toLowerCase()));
  return [
    ...dns.filter((name) => !own.has(name) && leaf.checkHost(name, { subject: 'never' }) === undefined),
    ...ips.filter((ip) => !own.has(ip)),
  ];
}

/** A certificate that signs itself is a root: clients have it or do not believe it. */
function isLink(certificate: X509Certificate): boolean {
  return !isIssuedBy(certificate, certificate);
}

function checkDates(certificate: X509Certificate, now: number): void {
  const name = oneLine(certificate.subject);
  if (now >= certificate.validToDate.getTime())
    throw invalid('expired', `${name} expired at ${certificate.validToDate.toISOString()}`);
  if (now < certificate.validFromDate.getTime())
    throw invalid('not-yet-valid', `${name} is not valid before ${certificate.validFromDate.toISOString()}`);
}

function invalid(reason: HubProblem, problem: string, cause?: unknown): SallyportError {
  return new SallyportError('BUNDLE_INVALID', { reason, problem }, cause);
}
