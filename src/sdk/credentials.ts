import { createPrivateKey, hash, X509Certificate } from 'node:crypto';
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

/**
 * What is wrong with a certificate fresh from the token join, or undefined: {@link checkPair}, and it chains
 * to the CA of the token.
 */
export function checkJoined(credentials: EdgeCredentials): string | undefined {
  const problem = checkPair(credentials);
  if (problem !== undefined) return problem;
  return isIssuedBy(credentials.certificate, credentials.ca)
    ? undefined
    : 'the certificate was not issued by the CA of the token';
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
  return hash('sha256', certificate.raw, 'hex');
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
