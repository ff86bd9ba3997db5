import { hash } from 'node:crypto';
import { certificateExtensions } from './certificate-extensions.ts';
import { DerReader, octets, oid, sequence, TAG } from './der.ts';

/** Subject key identifier, RFC 5280 section 4.2.1.2. */
const SUBJECT_KEY_IDENTIFIER = oid('2.5.29.14');
const ID = new DerReader(SUBJECT_KEY_IDENTIFIER).next(TAG.oid).toString('hex');

/**
 * Method 1 of RFC 5280 section 4.2.1.2, SHA-1 of the key bits: an identifier, no security rests on it.
 * @param spki DER
 */
export function computeKeyIdentifier(spki: Uint8Array): Buffer {
  const info = new DerReader(spki).enter();
  info.skip();
  // A BIT STRING begins with the number of unused bits.
  return hash('sha1', info.next(TAG.bitString).subarray(1), 'buffer');
}

/**
 * What the certificate says of its key; undefined when it says nothing.
 * @param raw DER @throws for what is no certificate
 */
export function readKeyIdentifier(raw: Uint8Array): Buffer | undefined {
  for (const { id, value } of certificateExtensions(raw))
    if (id === ID) return new DerReader(value).next(TAG.octetString);
  return undefined;
}

/** The extension that says it, DER. */
export function keyIdentifierExtension(keyId: Uint8Array): Buffer {
  return sequence(SUBJECT_KEY_IDENTIFIER, octets(octets(keyId)));
}
