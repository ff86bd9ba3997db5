import { createPrivateKey, type KeyObject } from 'node:crypto';
import { describeError, SallyportError } from '../../core/errors.ts';
import { looksLikePem, readPem } from './pem.ts';

/**
 * Blocks that stand beside keys in PEM files: `openssl ecparam -genkey` writes parameters first, others the
 * certificate.
 */
const NOT_KEYS = new Set(['EC PARAMETERS', 'CERTIFICATE', 'X509 CERTIFICATE', 'TRUSTED CERTIFICATE']);

/** RSA larger than this costs a handshake seconds of CPU; nobody needs it. */
const MAX_RSA_BITS = 16_384;

/**
 * Reads a private key: SEC1 (RFC 5915), PKCS#8 (RFC 5958) or PKCS#1 (RFC 8017), DER, or PEM under any label
 * (requirement A7).
 * @param what names the key in errors, such as `cakeydata of secret casecret`
 * @throws KEY_UNREADABLE, KEY_ENCRYPTED, KEY_TOO_WEAK
 */
export function parsePrivateKey(bytes: Uint8Array, what: string): KeyObject {
  const key = looksLikePem(bytes) ? fromPem(bytes, what) : fromDer(Buffer.from(bytes), what);
  const weakness = keyWeakness(key);
  if (weakness !== undefined) throw new SallyportError('KEY_TOO_WEAK', { what, kind: weakness });
  return key;
}

/**
 * What is wrong with the strength or kind of a public or private key; undefined when it is EC P-256 or P-384,
 * or RSA of at least 2048 bits with an odd exponent from 3 on (NIST SP 800-57 part 1, table 2; CA/Browser
 * baseline requirements 6.1.6).
 */
export function keyWeakness(key: KeyObject): string | undefined {
  const { namedCurve, modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'ec':
      if (namedCurve === 'prime256v1' || namedCurve === 'secp384r1') return undefined;
      return `EC ${namedCurve ?? 'with explicit parameters'}`;
    case 'rsa':
      if (modulusLength < 2048 || modulusLength > MAX_RSA_BITS) return `RSA ${modulusLength} bit`;
      return publicExponent < 3n || publicExponent % 2n === 0n ? `RSA exponent ${publicExponent}` : undefined;
    default:
      return key.asymmetricKeyType ?? 'unknown';
  }
}

/** SEC1 for EC, as KubeEdge stores keys; PKCS#8 for RSA, which SEC1 cannot hold. */
export function keyToDer(key: KeyObject): Buffer {
  return key.asymmetricKeyType === 'ec'
    ? key.export({ type: 'sec1', format: 'der' })
    : key.export({ type: 'pkcs8', format: 'der' });
}

function fromPem(bytes: Uint8Array, what: string): KeyObject {
  const blocks = readPem(bytes).filter(({ label }) => !NOT_KEYS.has(label));
  const [block] = blocks;
  if (!block) throw unreadable(what, 'the PEM text holds no key');
  if (blocks.length > 1) throw unreadable(what, `the PEM text holds ${blocks.length} keys`);
  if (block.encrypted) throw new SallyportError('KEY_ENCRYPTED', { what });
  if (block.der.length === 0) throw unreadable(what, 'the PEM block is cut off or is not base64');
  return fromDer(block.der, what);
}

function fromDer(der: Buffer, what: string): KeyObject {
  if (der.length === 0) throw unreadable(what, 'it is empty');
  const type = derKind(der);
  if (type === 'encrypted') throw new SallyportError('KEY_ENCRYPTED', { what });
  if (type === undefined) throw unreadable(what, 'it is neither SEC1 nor PKCS#8, DER or PEM');
  try {
    return createPrivateKey({ key: der, format: 'der', type });
  } catch (error) {
    // OpenSSL's text names the ASN.1 field at most, never its value.
    throw unreadable(what, `damaged ${type.toUpperCase()} (${describeError(error)})`);
  }
}

/**
 * Tells the formats apart by their first fields: all are a SEQUENCE; PKCS#8 goes on INTEGER SEQUENCE, SEC1
 * INTEGER OCTET STRING, PKCS#1 INTEGER INTEGER, and an encrypted PKCS#8 begins with a SEQUENCE.
 */
function derKind(der: Buffer): 'pkcs8' | 'sec1' | 'pkcs1' | 'encrypted' | undefined {
  if (der[0] !== 0x30) return undefined;
  const first = (der[1] ?? 0) < 0x80 ? 2 : 2 + (der[1]! & 0x7f);
  if (der[first] === 0x30) return 'encrypted';
  if (der[first] !== 0x02) return undefined;
  const second = der[first + 2 + (der[first + 1] ?? 0)];
  if (second === 0x30) return 'pkcs8';
  if (second === 0x04) return 'sec1';
  return second === 0x02 ? 'pkcs1' : undefined;
}

function unreadable(what: string, problem: string): SallyportError {
  return new SallyportError('KEY_UNREADABLE', { what, problem });
}
