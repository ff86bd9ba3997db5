import 'reflect-metadata';
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { SallyportError } from '../../core/errors.ts';
import { keyWeakness } from '../x509/private-key.ts';

export interface ReadCsrOptions {
  /** Keys that nobody else may hold: the CA's and the hub's (requirement D4). */
  readonly forbiddenKeys: readonly KeyObject[];
}

/** What is left of a certificate signing request: nothing else in it has any say (requirement D2). */
export interface CheckedCsr {
  /** SPKI, DER. */
  readonly publicKey: Uint8Array;
  /**
   * The name after `system:node:` in the subject, as it stands there; undefined when the subject names no
   * node.
   */
  readonly namedNode: string | undefined;
}

/** EdgeCore's has about 300 bytes, one with an RSA key of 8192 bits 2300. */
const MAX_BYTES = 16 * 1024;
/** A key so large costs the hub milliseconds with every handshake. */
const MAX_RSA_BITS = 8192;

/**
 * Signature algorithm → hash, and the kind of key it goes with (RFC 5758 section 3.2, RFC 8017 appendix
 * A.2.4).
 */
const SIGNATURES: Readonly<Record<string, { readonly hash: string; readonly keyType: 'ec' | 'rsa' }>> = {
  '1.2.840.10045.4.3.2': { hash: 'sha256', keyType: 'ec' },
  '1.2.840.10045.4.3.3': { hash: 'sha384', keyType: 'ec' },
  '1.2.840.10045.4.3.4': { hash: 'sha512', keyType: 'ec' },
  '1.2.840.113549.1.1.11': { hash: 'sha256', keyType: 'rsa' },
  '1.2.840.113549.1.1.12': { hash: 'sha384', keyType: 'rsa' },
  '1.2.840.113549.1.1.13': { hash: 'sha512', keyType: 'rsa' },
};

/**
 * Reads a PKCS#10 request (RFC 2986), DER or PEM: signature verified (D3), key policy kept (D4), everything
 * but key and node name dropped.
 * @throws CSR_MISSING, CSR_INVALID
 */
export function readCsr(bytes: Uint8Array, { forbiddenKeys }: ReadCsrOptions): CheckedCsr {
  if (bytes.length === 0) throw new SallyportError('CSR_MISSING');
  if (bytes.length > MAX_BYTES) throw invalid(`it is larger than ${MAX_BYTES} bytes`);
  const der = isPem(bytes) ? fromPem(bytes) : bytes;
  if (derLength(der) !== der.length) throw invalid('it is cut off, or something follows it');
  const request = parse(der);
  const publicKey = readKey(request.spki);
  checkKey(publicKey);
  checkSignature(request, publicKey);
  if (forbiddenKeys.some((key) => sameKey(key, publicKey)))
    throw invalid('its key belongs to the hub or its CA');
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    namedNode: namedNode(request.commonNames),
  };
}

/**
 * Keys of different types are never compared: `KeyObject.equals` (Node 24) then leaves an error in OpenSSL's
 * queue, which ends the next TLS connection that is served, whosever it is.
 */
function sameKey(one: KeyObject, other: KeyObject): boolean {
  return one.asymmetricKeyType === other.asymmetricKeyType && one.equals(other);
}

interface ParsedCsr {
  readonly signed: Uint8Array;
  readonly spki: Uint8Array;
  readonly commonNames: readonly string[];
  readonly algorithm: string;
  readonly signature: Uint8Array;
}

/** The library keeps the signed bytes to itself, and node:crypto is what we verify with (FINDINGS, X.509). */
class OpenRequest extends x509.Pkcs10CertificateRequest {
  get fields() {
    return this.asn;
  }
}

function parse(der: Uint8Array): ParsedCsr {
  try {
    const request = new OpenRequest(der);
    const { certificationRequestInfoRaw: signed, signatureAlgorithm, signature } = request.fields;
    if (!signed) throw new TypeError('the signed part is missing');
    return {
      signed: new Uint8Array(signed),
      spki: new Uint8Array(request.publicKey.rawData),
      commonNames: request.subjectName.getField('CN'),
      algorithm: signatureAlgorithm.algorithm,
      signature: new Uint8Array(signature),
    };
  } catch (error) {
    throw invalid('it is not PKCS#10', error);
  }
}

function readKey(spki: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (error) {
    throw invalid('its public key cannot be read', error);
  }
}

/**
 * The policy for all keys, and for RSA an exponent from 65537 on (FIPS 186-5 appendix A.1.1): a new key has
 * no excuse for less.
 */
function checkKey(key: KeyObject): void {
  const weakness = keyWeakness(key);
  if (weakness !== undefined)
    throw invalid(`its key is ${weakness}; use EC P-256 or P-384, or RSA of at least 2048 bits`);
  if (key.asymmetricKeyType === 'ec' && !isPlainEcKey(key))
    throw invalid('its EC key has explicit curve parameters or a compressed point');
  const { modulusLength = 0, publicExponent = 65_537n } = key.asymmetricKeyDetails ?? {};
  if (publicExponent < 65_537n) throw invalid(`its RSA key has the exponent ${publicExponent}; use 65537`);
  if (modulusLength > MAX_RSA_BITS) throw invalid(`its RSA key has more than ${MAX_RSA_BITS} bits`);
}

/**
 * The curve named and the point whole, as RFC 5480 section 2.1.1 demands: OpenSSL takes more, TLS libraries
 * of others do not.
 */
function isPlainEcKey(key: KeyObject): boolean {
  const plain = createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
  return plain.export({ type: 'spki', format: 'der' }).equals(key.export({ type: 'spki', format: 'der' }));
}

/**
 * Without this, anybody could obtain a certificate for a key that somebody else holds (RFC 2986 section 3,
 * requirement D3).
 */
function checkSignature({ algorithm, signed, signature }: ParsedCsr, key: KeyObject): void {
  const known = Object.hasOwn(SIGNATURES, algorithm) ? SIGNATURES[algorithm] : undefined;
  if (known?.keyType !== key.asymmetricKeyType) throw invalid('its signature algorithm is not supported');
  let valid = false;
  try {
    valid = verify(known!.hash, signed, key, signature);
  } catch (error) {
    throw invalid('its signature cannot be read', error);
  }
  if (!valid) throw invalid('its signature does not verify');
}

/**
 * Any common name that claims a node counts, whatever its case or the blanks around it: a request that tries
 * is not taken for a generic one. Two that differ give a name that no node has.
 */
function namedNode(commonNames: readonly string[]): string | undefined {
  const names = commonNames
    .filter((name) => /^\s*system:node:/i.test(name))
    .map((name) => (name.startsWith('system:node:') ? name.slice('system:node:'.length) : name));
  return names.length === 0 ? undefined : [...new Set(names)].join('+');
}

function isPem(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 64)).toString('latin1').trimStart().startsWith('-----BEGIN ');
}

function fromPem(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  const pattern =
    /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]*)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/;
  const body = pattern.exec(text)?.[1];
  if (body === undefined) throw invalid('its PEM text is not one certificate request');
  return Buffer.from(body, 'base64');
}

/**
 * Length of the outermost value with its header (X.690 section 8.1.3, definite form); undefined when there is
 * none.
 */
function derLength(der: Uint8Array): number | undefined {
  const [tag, first] = der;
  if (tag !== 0x30 || first === undefined) return undefined;
  if (first < 0x80) return 2 + first;
  const octets = first & 0x7f;
  if (octets === 0 || octets > 2 || der.length < 2 + octets) return undefined;
  return 2 + octets + Buffer.from(der.subarray(2, 2 + octets)).readUIntBE(0, octets);
}

function invalid(problem: string, cause?: unknown): SallyportError {
  return new SallyportError('CSR_INVALID', { problem }, cause);
}
