import { X509Certificate } from 'node:crypto';
import { contextTag, DerReader, der, sequence, TAG } from '../../core/der.ts';
import {
  computeKeyIdentifier,
  keyIdentifierExtension,
  readKeyIdentifier,
} from '../../core/key-identifier.ts';

/** `extensions [3] EXPLICIT` of a TBSCertificate (RFC 5280 section 4.1). */
const EXTENSIONS = contextTag(3);

/**
 * The CA certificate with a subject key identifier, for a library that looks for a CA by name and key
 * identifier (requirement C2). It is a trust anchor and nothing else: of an anchor name and key count, its
 * own signature, which does not fit any more, is never looked at (RFC 5280 section 6.1.1). The gate decides
 * with the real certificate.
 * @returns PEM; what has an identifier, or cannot be read, as it is
 */
export function withKeyIdentifier({
  pem,
  der: raw,
}: {
  readonly pem: string;
  readonly der: Uint8Array;
}): string {
  if (hasKeyIdentifier(raw)) return pem;
  try {
    return new X509Certificate(addKeyIdentifier(raw)).toString();
  } catch {
    return pem;
  }
}

export function hasKeyIdentifier(raw: Uint8Array): boolean {
  try {
    return readKeyIdentifier(raw) !== undefined;
  } catch {
    return false;
  }
}

/** As the hub writes it as authority key identifier into every edge certificate. */
function addKeyIdentifier(raw: Uint8Array): Buffer {
  const spki = new X509Certificate(raw).publicKey.export({ type: 'spki', format: 'der' });
  const extension = keyIdentifierExtension(computeKeyIdentifier(spki));
  const certificate = new DerReader(raw).enter();
  const fields = certificate.enter();
  const kept: Buffer[] = [];
  while (fields.tag !== EXTENSIONS) kept.push(fields.whole());
  const present = fields.enter(EXTENSIONS).next(TAG.sequence);
  const tbs = sequence(...kept, der(EXTENSIONS, sequence(present, extension)));
  return sequence(tbs, certificate.rest());
}
