import type { KeyObject, X509Certificate } from 'node:crypto';
import {
  certificateExtensions,
  DIGITAL_SIGNATURE,
  KEY_USAGE,
  keyUsageBits,
} from '../core/certificate-extensions.ts';
import type { Refusal } from './node-identity.ts';

/** Certificates of nodes have 500 to 2,000 bytes; with a key and a signature of RSA 4096 about 1,600. */
const MAX_BYTES = 8 * 1024;
/** Verifying with RSA 4096 costs about 0.1 ms, with RSA 16384 and a long exponent 200 ms. */
const MAX_RSA_BITS = 4096;
const MAX_RSA_EXPONENT = 2n ** 32n;
const CURVES = new Set(['prime256v1', 'secp384r1', 'secp521r1']);
/** RFC 5758 §3.2, RFC 4055 §5, RFC 8410 §3. MD5 and SHA-1 are not here (RFC 9155). */
const SIGNATURES = new Set([
  '1.2.840.10045.4.3.2', // ecdsa-with-SHA256
  '1.2.840.10045.4.3.3', // ecdsa-with-SHA384
  '1.2.840.10045.4.3.4', // ecdsa-with-SHA512
  '1.2.840.113549.1.1.11', // sha256WithRSAEncryption
  '1.2.840.113549.1.1.12', // sha384WithRSAEncryption
  '1.2.840.113549.1.1.13', // sha512WithRSAEncryption
  '1.2.840.113549.1.1.10', // RSASSA-PSS
  '1.3.101.112', // Ed25519
]);
/** Extensions that are understood; a critical one that is not here ends it (RFC 5280 §4.2). */
const UNDERSTOOD = new Set([KEY_USAGE, '551d13', '551d25', '551d11', '551d0e', '551d23', '551d20', '551d1f']);

/** Why a certificate is refused before anything is verified with it. */
export type FormProblem = Pick<Refusal, 'reason' | 'detail'>;

/**
 * What a certificate looks like, before it costs anything: bounded in size, with a key and a signature of a
 * kind that is verified quickly, and without a demand that would be ignored (requirements O2 and O3). Issued
 * by whomever; a stranger may have written every byte of it.
 * @returns undefined when it may be verified
 */
export function formProblem(
  certificate: X509Certificate,
  { isLeaf }: { readonly isLeaf: boolean },
): FormProblem | undefined {
  if (certificate.raw.length > MAX_BYTES)
    return problem('unsupported-key', `it has ${certificate.raw.length} bytes; ${MAX_BYTES} are allowed`);
  const { signatureAlgorithm = 'unknown', signatureAlgorithmOid = '' } = certificate;
  if (!SIGNATURES.has(signatureAlgorithmOid))
    return problem('weak-signature', `it is signed with ${signatureAlgorithm}; SHA-256 or better is needed`);
  const key = keyProblem(certificate.publicKey);
  if (key !== undefined) return problem('unsupported-key', key);
  const { unknownCritical, keyUsage } = readExtensions(certificate.raw);
  if (unknownCritical !== undefined)
    return problem('unknown-extension', 'it has a critical extension that this hub does not know');
  // A TLS 1.3 client signs, whatever its key.
  if (isLeaf && keyUsage !== undefined && (keyUsage & DIGITAL_SIGNATURE) === 0)
    return problem('wrong-key-usage', 'its key usage does not contain digitalSignature');
  return undefined;
}

function problem(reason: FormProblem['reason'], detail: string): FormProblem {
  return { reason, detail: `the client certificate is refused: ${detail}` };
}

function keyProblem({
  asymmetricKeyType: kind,
  asymmetricKeyDetails: details,
}: KeyObject): string | undefined {
  if (kind === 'ed25519') return undefined;
  if (kind === 'ec')
    return CURVES.has(details?.namedCurve ?? '') ? undefined : 'its key is of a curve that is not supported';
  if (kind !== 'rsa' && kind !== 'rsa-pss') return `its key is of the kind ${kind}`;
  const { modulusLength = 0, publicExponent = 0n } = details ?? {};
  if (modulusLength > MAX_RSA_BITS)
    return `its RSA key has ${modulusLength} bits; ${MAX_RSA_BITS} are allowed`;
  return publicExponent > MAX_RSA_EXPONENT ? 'the exponent of its RSA key is too long' : undefined;
}

function readExtensions(raw: Uint8Array): { unknownCritical?: string; keyUsage?: number } {
  const found: { unknownCritical?: string; keyUsage?: number } = {};
  for (const { id, isCritical, value } of certificateExtensions(raw)) {
    if (isCritical && !UNDERSTOOD.has(id)) found.unknownCritical = id;
    if (id === KEY_USAGE) found.keyUsage = keyUsageBits(value);
  }
  return found;
}
