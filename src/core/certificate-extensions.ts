import { contextTag, DerReader, TAG } from './der.ts';

export interface CertificateExtension {
  /** Its OID as DER holds it, in hexadecimal: `551d11` is subjectAltName. */
  readonly id: string;
  readonly isCritical: boolean;
  readonly value: Buffer;
}

const EXTENSIONS = contextTag(3);

/**
 * Reads nothing of a Certificate (RFC 5280 §4.1) but its extensions.
 * @param raw DER
 * @throws for what is no certificate
 */
export function* certificateExtensions(raw: Uint8Array): Generator<CertificateExtension, void> {
  const tbs = new DerReader(raw).enter().enter();
  while (!tbs.isAtEnd && tbs.tag !== EXTENSIONS) tbs.next(tbs.tag!);
  if (tbs.isAtEnd) return;
  const list = tbs.enter(EXTENSIONS).enter();
  while (!list.isAtEnd) {
    const extension = list.enter();
    const id = extension.next(TAG.oid).toString('hex');
    const isCritical = extension.tag === TAG.boolean && extension.next(TAG.boolean)[0] !== 0;
    yield { id, isCritical, value: extension.next(TAG.octetString) };
  }
}

/** OID of keyUsage (RFC 5280 §4.2.1.3). */
export const KEY_USAGE = '551d0f';
/** Bits of the first octet of keyUsage, of which bit 0 is the highest. */
export const DIGITAL_SIGNATURE = 0x80;
export const KEY_CERT_SIGN = 0x04;
export const CRL_SIGN = 0x02;

/** @param value of the extension keyUsage @returns its first octet, without the ninth bit, decipherOnly */
export function keyUsageBits(value: Buffer): number {
  // A BIT STRING begins with the number of unused bits.
  return new DerReader(value).next(TAG.bitString)[1] ?? 0;
}

/**
 * Whether the key of a certificate may be used so; without the extension it may be used for everything.
 * @param raw DER @param bit one of those above
 * @throws for what is no certificate
 */
export function allowsKeyUsage(raw: Uint8Array, bit: number): boolean {
  for (const { id, value } of certificateExtensions(raw))
    if (id === KEY_USAGE && (keyUsageBits(value) & bit) === 0) return false;
  return true;
}
