import { der, oid, sequence, TAG } from './der.ts';

/** X.520. */
const ATTRIBUTES = { O: oid('2.5.4.10'), CN: oid('2.5.4.3') } as const;
/** X.680 section 41.4. */
const PRINTABLE = /^[A-Za-z0-9 '()+,\-./:=?]*$/;

/** RDNs in their order, of one attribute each: `[['O', 'system:nodes'], ['CN', 'system:node:edge-1']]`. */
export type DistinguishedName = readonly (readonly [attribute: keyof typeof ATTRIBUTES, value: string])[];

/**
 * The RDNSequence of RFC 5280 section 4.1.2.4, DER: PrintableString where its alphabet allows, else
 * UTF8String, as Go's crypto/x509 writes it.
 */
export function encodeDistinguishedName(name: DistinguishedName): Buffer {
  return sequence(
    ...name.map(([attribute, value]) => {
      const tag = PRINTABLE.test(value) ? TAG.printableString : TAG.utf8String;
      return der(TAG.set, sequence(ATTRIBUTES[attribute], der(tag, Buffer.from(value))));
    }),
  );
}
