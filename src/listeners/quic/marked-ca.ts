import { createHash, X509Certificate } from 'node:crypto';

/** DER tags (X.690 section 8.1.2). */
const SEQUENCE = 0x30;
const OCTET_STRING = 0x04;
/** `extensions [3] EXPLICIT` of a TBSCertificate (RFC 5280 section 4.1). */
const EXTENSIONS = 0xa3;
/** OID 2.5.29.14, subject key identifier. */
const SUBJECT_KEY_IDENTIFIER = Buffer.from('0603551d0e', 'hex');

/**
 * The CA certificate with a subject key identifier, for a library that looks for a CA by name and key
 * identifier (requirement C2). It is a trust anchor and nothing else: of an anchor name and key count, its
 * own signature, which does not fit any more, is never looked at (RFC 5280 section 6.1.1). The gate decides
 * with the real certificate.
 * @returns PEM; what has an identifier, or cannot be read, as it is
 */
export function withKeyIdentifier({ pem, der }: { readonly pem: string; readonly der: Uint8Array }): string {
  if (hasKeyIdentifier(der)) return pem;
  try {
    return new X509Certificate(addExtension(Buffer.from(der), keyIdentifierOf(pem))).toString();
  } catch {
    return pem;
  }
}

export function hasKeyIdentifier(der: Uint8Array): boolean {
  return Buffer.from(der).includes(SUBJECT_KEY_IDENTIFIER);
}

/**
 * Method 1 of RFC 5280 section 4.2.1.2: what the hub writes as authority key identifier into every edge
 * certificate.
 */
function keyIdentifierOf(pem: string): Buffer {
  const spki = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' });
  const [, key] = children(spki, element(spki, 0));
  // A BIT STRING begins with the number of unused bits.
  return createHash('sha1')
    .update(spki.subarray(key!.content + 1, key!.end))
    .digest();
}

function addExtension(certificate: Buffer, keyIdentifier: Buffer): Buffer {
  const [tbs, ...rest] = children(certificate, element(certificate, 0));
  const fields = children(certificate, tbs!);
  const last = fields.at(-1)!;
  if (last.tag !== EXTENSIONS) throw new Error('it has no extensions');
  const list = element(certificate, last.content);
  const extension = encode(SEQUENCE, [
    SUBJECT_KEY_IDENTIFIER,
    encode(OCTET_STRING, [encode(OCTET_STRING, [keyIdentifier])]),
  ]);
  const extensions = encode(SEQUENCE, [certificate.subarray(list.content, list.end), extension]);
  const whole = (one: Element) => certificate.subarray(one.start, one.end);
  return encode(SEQUENCE, [
    encode(SEQUENCE, [...fields.slice(0, -1).map(whole), encode(EXTENSIONS, [extensions])]),
    ...rest.map(whole),
  ]);
}

interface Element {
  readonly tag: number;
  readonly start: number;
  readonly content: number;
  readonly end: number;
}

function element(bytes: Buffer, start: number): Element {
  const first = bytes.readUInt8(start + 1);
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  const content = start + 2 + lengthBytes;
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(start + 2, lengthBytes);
  return { tag: bytes.readUInt8(start), start, content, end: content + length };
}

function children(bytes: Buffer, { content, end }: Element): Element[] {
  const found: Element[] = [];
  for (let at = content; at < end; at = found.at(-1)!.end) found.push(element(bytes, at));
  return found;
}

function encode(tag: number, parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const size = length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
  const header = Buffer.alloc(2 + size);
  header.writeUInt8(tag, 0);
  header.writeUInt8(0x80 | size, 1);
  header.writeUIntBE(length, 2, size);
  return Buffer.concat([header, content]);
}
