import { hash, type KeyObject, X509Certificate } from 'node:crypto';
import { formProblem } from './certificate-form.ts';

/** What the gate needs of a trusted CA; `CaCertificate` has it. */
export interface TrustedCaInput {
  readonly pem: string;
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly sha256: string;
}

/** A CA certificate parsed once. */
export interface TrustedCa {
  readonly certificate: X509Certificate;
  readonly publicKey: KeyObject;
  readonly sha256: string;
  readonly subject: string;
  /** SHA-256 of the public key. */
  readonly spki: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * @returns undefined when it cannot be parsed, is no CA, or is not what its fingerprint says: then nobody is
 * trusted through it
 */
export function prepareCa({ pem, sha256 }: TrustedCaInput): TrustedCa | undefined {
  try {
    const certificate = new X509Certificate(pem);
    if (!certificate.ca || hash('sha256', certificate.raw, 'hex') !== sha256.toLowerCase()) return undefined;
    const publicKey = certificate.publicKey;
    return {
      certificate,
      publicKey,
      sha256: sha256.toLowerCase(),
      subject: certificate.subject,
      spki: hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'hex'),
      notBefore: certificate.validFromDate.getTime(),
      notAfter: certificate.validToDate.getTime(),
    };
  } catch {
    return undefined;
  }
}

/**
 * Signatures that may be verified for one peer, over all trusted CAs: the slowest kind that is let in (EC
 * P-521) takes about 0.5 ms (requirement O2).
 */
export const VERIFICATIONS = 10;
export interface VerificationBudget {
  left: number;
}

/** How many intermediates a peer's chain may have, and how many of those it sent are looked at. */
const MAX_DEPTH = 3;
const MAX_INTERMEDIATES = 4;

/**
 * Finds the way from `leaf` to exactly this CA. Each CA is tried by itself: two of the same name and serial
 * without key identifiers (requirement C2, KubeEdge's CAs) differ only in the signature. Intermediates have
 * to be CAs; path length and name constraints are not read, so a trusted CA answers for the CAs it signs.
 * @returns the intermediates in use, empty for a leaf of the CA itself; undefined when there is no way
 */
export function findChain(
  leaf: X509Certificate,
  ca: TrustedCa,
  { intermediates, budget }: { intermediates: readonly X509Certificate[]; budget: VerificationBudget },
): readonly X509Certificate[] | undefined {
  if (isSignedBy(leaf, ca, budget)) return [];
  return intermediates.length === 0
    ? undefined
    : climb(leaf, ca, { usable: intermediates, budget }, MAX_DEPTH);
}

/** Of what a peer sent, the certificates that may stand between its own and a trusted CA. */
export function usableIntermediates(sent: readonly X509Certificate[]): readonly X509Certificate[] {
  return sent
    .slice(0, MAX_INTERMEDIATES)
    .filter((one) => one.ca && formProblem(one, { isLeaf: false }) === undefined);
}

function climb(
  child: X509Certificate,
  ca: TrustedCa,
  { usable, budget }: { usable: readonly X509Certificate[]; budget: VerificationBudget },
  depth: number,
): readonly X509Certificate[] | undefined {
  if (depth === 0) return undefined;
  for (const parent of usable) {
    if (!isSignedBy(child, { certificate: parent, publicKey: parent.publicKey }, budget)) continue;
    if (isSignedBy(parent, ca, budget)) return [parent];
    const rest = usable.filter((one) => one !== parent);
    const above = climb(parent, ca, { usable: rest, budget }, depth - 1);
    if (above) return [parent, ...above];
  }
  return undefined;
}

/** Names, key identifiers and key usage fit (`checkIssued`), and the signature is right. */
function isSignedBy(
  child: X509Certificate,
  { certificate, publicKey }: Pick<TrustedCa, 'certificate' | 'publicKey'>,
  budget: VerificationBudget,
): boolean {
  try {
    return child.checkIssued(certificate) && budget.left-- > 0 && child.verify(publicKey);
  } catch {
    return false;
  }
}
