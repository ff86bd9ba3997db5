import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { describeError } from '../core/errors.ts';
import type { EdgeCredentials } from './transports/transport.ts';

/**
 * What is wrong with a key and certificate as the pair of `node`, or undefined. The issuer is not looked at:
 * while the hub rolls over to a new CA, a renewed certificate comes from a CA this node has never seen, and
 * is good all the same (requirement C1).
 */
export function checkPair({ node, certificate, key, ca }: EdgeCredentials): string | undefined {
  try {
    new X509Certificate(ca);
    const own = new X509Certificate(certificate);
    if (!own.checkPrivateKey(createPrivateKey(key))) return 'the certificate does not belong to the key';
    const name = nodeOf(own);
    if (name !== node) return `the certificate names ${name ?? 'no node'}`;
    return undefined;
  } catch (error) {
    return describeError(error);
  }
}

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/**
 * What is wrong with a certificate fresh from the hub, or undefined: {@link checkPair}, and a node can show
 * it to the hub now. @param now milliseconds since the epoch
 */
export function checkFresh(credentials: EdgeCredentials, now: number): string | undefined {
  const problem = checkPair(credentials);
  if (problem !== undefined) return problem;
  if (validityOf(credentials).notAfter <= now)
    return 'the new certificate has expired already; compare the clocks';
  // Node calls the extended key usages so; without the extension every usage is allowed (RFC 5280 §4.2.1.12).
  const { keyUsage } = new X509Certificate(credentials.certificate);
  return keyUsage === undefined || keyUsage.includes(CLIENT_AUTH)
    ? undefined
    : 'the new certificate is not for clients: its extended key usage lacks clientAuth';
}

/** @param certificate PEM @param ca PEM; of several certificates the first counts */
export function isIssuedBy(certificate: string, ca: string): boolean {
  const own = new X509Certificate(certificate);
  const issuer = new X509Certificate(ca);
  return own.checkIssued(issuer) && own.verify(issuer.publicKey);
}

/**
 * The CAs a node verifies the hub with: one, and during a rollover the new one before the one it joined with.
 */
export function casOf({ ca }: Pick<EdgeCredentials, 'ca'>): X509Certificate[] {
  const blocks = ca.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/** SHA-256 of the DER, lower-case hexadecimal. */
export function sha256Of(certificate: X509Certificate): string {
  return createHash('sha256').update(certificate.raw).digest('hex');
}

/** The node a certificate names (`CN=system:node:<name>`), as Kubernetes' node authorizer reads it. */
export function nodeOf(certificate: X509Certificate): string | undefined {
  const { CN } = certificate.toLegacyObject().subject as { CN?: unknown };
  return typeof CN === 'string' && CN.startsWith('system:node:')
    ? CN.slice('system:node:'.length)
    : undefined;
}

export interface Validity {
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export function validityOf({ certificate }: EdgeCredentials): Validity {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  return { notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() };
}
