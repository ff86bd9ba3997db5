import { createCipheriv, createDecipheriv, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { contextTag, DerReader, der, integer, nothing, octets, oid, sequence, TAG } from '../core/der.ts';
import { SallyportError } from '../core/errors.ts';
import { unreadable } from './unreadable.ts';

/** Named in RFC 8018, RFC 3211, RFC 5083, RFC 5084, RFC 5652. */
const OID = {
  data: '1.2.840.113549.1.7.1',
  authEnvelopedData: '1.2.840.113549.1.9.16.1.23',
  pbkdf2: '1.2.840.113549.1.5.12',
  hmacSha256: '1.2.840.113549.2.9',
  pwriKek: '1.2.840.113549.1.9.16.3.9',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
  aes256Gcm: '2.16.840.1.101.3.4.1.46',
} as const;

/** OWASP's advice for PBKDF2 with HMAC-SHA256 (Password Storage Cheat Sheet, 2023). */
const PBKDF2_ITERATIONS = 600_000;
/** What a file may ask for: more would only hold up whoever opens it. */
const MAX_ITERATIONS = 5_000_000;
const KEY_BYTES = 32;
const SALT_BYTES = 16;
const BLOCK = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const LABEL = 'CMS';
const BEGIN = `-----BEGIN ${LABEL}-----`;
const END = `-----END ${LABEL}-----`;

/**
 * Seals bytes with a passphrase: CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM, whose key is wrapped for
 * a password recipient (RFC 3211) by PBKDF2. `openssl cms -decrypt -inform PEM -pwri_password …` opens it,
 * from OpenSSL 3.0 on.
 * @returns PEM
 */
export async function seal(
  content: Uint8Array,
  passphrase: string,
  { iterations = PBKDF2_ITERATIONS }: { iterations?: number } = {},
): Promise<string> {
  const [salt, iv, nonce, contentKey] = [SALT_BYTES, BLOCK, NONCE_BYTES, KEY_BYTES].map((n) =>
    randomBytes(n),
  ) as [Buffer, Buffer, Buffer, Buffer];
  const kek = await deriveKey(passphrase, salt, iterations);
  const cipher = createCipheriv('aes-256-gcm', contentKey, nonce, { authTagLength: TAG_BYTES });
  const encrypted = Buffer.concat([cipher.update(content), cipher.final()]);
  const recipient = der(
    contextTag(3),
    integer(0),
    der(
      contextTag(0),
      oid(OID.pbkdf2),
      sequence(
        octets(salt),
        integer(iterations),
        integer(KEY_BYTES),
        sequence(oid(OID.hmacSha256), nothing()),
      ),
    ),
    sequence(oid(OID.pwriKek), sequence(oid(OID.aes256Cbc), octets(iv))),
    octets(wrapKey(contentKey, kek, iv)),
  );
  const enveloped = sequence(
    integer(0),
    der(TAG.set, recipient),
    sequence(
      oid(OID.data),
      sequence(oid(OID.aes256Gcm), sequence(octets(nonce), integer(TAG_BYTES))),
      der(contextTag(0, 'primitive'), encrypted),
    ),
    octets(cipher.getAuthTag()),
  );
  return toPem(sequence(oid(OID.authEnvelopedData), der(contextTag(0), enveloped)));
}

/** @throws BACKUP_UNREADABLE, BACKUP_PASSPHRASE when the passphrase is another one or the file was altered */
export async function open(pem: Uint8Array, passphrase: string): Promise<Buffer> {
  const bytes = fromPem(Buffer.from(pem).toString('latin1'));
  const { salt, iterations, iv, wrapped, nonce, encrypted, mac } = parse(bytes);
  const contentKey = unwrapKey(wrapped, await deriveKey(passphrase, salt, iterations), iv);
  try {
    const decipher = createDecipheriv('aes-256-gcm', contentKey ?? randomBytes(KEY_BYTES), nonce, {
      authTagLength: TAG_BYTES,
    });
    decipher.setAuthTag(mac);
    return Buffer.concat([decipher.update(encrypted), decipher.final()]);
  } catch {
    throw new SallyportError('BACKUP_PASSPHRASE');
  }
}

function parse(bytes: Buffer) {
  const info = new DerReader(bytes, unreadable).enter();
  info.expectOid(OID.authEnvelopedData);
  const enveloped = info.enter(contextTag(0)).enter();
  if (enveloped.integer() !== 0) throw unreadable('its version is not 0');
  const recipient = enveloped.enter(TAG.set).enter(contextTag(3));
  if (recipient.integer() !== 0) throw unreadable('the version of its recipient is not 0');
  const derivation = recipient.enter(contextTag(0));
  derivation.expectOid(OID.pbkdf2);
  const parameters = derivation.enter();
  const [salt, iterations] = [parameters.next(TAG.octetString), parameters.integer()];
  if (parameters.integer() !== KEY_BYTES) throw unreadable('its key length is not 32');
  const prf = parameters.enter();
  prf.expectOid(OID.hmacSha256);
  prf.next(TAG.null);
  if (iterations < 1 || iterations > MAX_ITERATIONS)
    throw unreadable('its number of iterations is out of range');
  const wrapping = recipient.enter();
  wrapping.expectOid(OID.pwriKek);
  const cbc = wrapping.enter();
  cbc.expectOid(OID.aes256Cbc);
  const iv = cbc.next(TAG.octetString);
  const wrapped = recipient.next(TAG.octetString);
  const content = enveloped.enter();
  content.expectOid(OID.data);
  const algorithm = content.enter();
  algorithm.expectOid(OID.aes256Gcm);
  const gcm = algorithm.enter();
  const nonce = gcm.next(TAG.octetString);
  if (gcm.integer() !== TAG_BYTES) throw unreadable('its authentication tag is not 16 bytes long');
  const encrypted = content.next(contextTag(0, 'primitive'));
  const mac = enveloped.next(TAG.octetString);
  if (
    iv.length !== BLOCK ||
    nonce.length !== NONCE_BYTES ||
    mac.length !== TAG_BYTES ||
    wrapped.length % BLOCK !== 0
  )
    throw unreadable('a field has not the expected length');
  return { salt, iterations, iv, wrapped, nonce, encrypted, mac };
}

function deriveKey(passphrase: string, salt: Buffer, iterations: number): Promise<Buffer> {
  return promisify(pbkdf2)(Buffer.from(passphrase, 'utf8'), salt, iterations, KEY_BYTES, 'sha256');
}

/** RFC 3211 section 2.3.1: length, three check bytes, key, padding; encrypted twice in one CBC chain. */
function wrapKey(key: Buffer, kek: Buffer, iv: Buffer): Buffer {
  const check = Buffer.from(key.subarray(0, 3).map((byte) => byte ^ 0xff));
  const head = Buffer.concat([Buffer.from([key.length]), check, key]);
  const length = Math.max(2, Math.ceil(head.length / BLOCK)) * BLOCK;
  const cipher = createCipheriv('aes-256-cbc', kek, iv).setAutoPadding(false);
  const once = cipher.update(Buffer.concat([head, randomBytes(length - head.length)]));
  return cipher.update(once);
}

/** RFC 3211 section 2.3.2. Undefined when the check bytes are wrong. */
function unwrapKey(wrapped: Buffer, kek: Buffer, iv: Buffer): Buffer | undefined {
  if (wrapped.length < 2 * BLOCK) return undefined;
  const decrypt = (bytes: Uint8Array, chain: Uint8Array) =>
    createDecipheriv('aes-256-cbc', kek, chain).setAutoPadding(false).update(bytes);
  // The last block of the first pass was the chain's input to the second: it is found first.
  const chain = decrypt(wrapped.subarray(-BLOCK), wrapped.subarray(-2 * BLOCK, -BLOCK));
  const head = decrypt(decrypt(wrapped, chain), iv);
  const key = head.subarray(4, 4 + KEY_BYTES);
  const isRight = head[0] === KEY_BYTES && [0, 1, 2].every((at) => (head[1 + at]! ^ 0xff) === key[at]);
  return isRight && key.length === KEY_BYTES ? key : undefined;
}

function toPem(bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return [BEGIN, ...lines, END, ''].join('\n');
}

/** RFC 7468, of any size; text around the block is left out. */
function fromPem(text: string): Buffer {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END, begin);
  if (begin < 0 || end < 0) throw unreadable(`it holds no whole PEM block "${LABEL}"`);
  const body = text.slice(begin + BEGIN.length, end);
  if (!/^[A-Za-z0-9+/=\s]+$/.test(body)) throw unreadable('its PEM block is not base64');
  return Buffer.from(body, 'base64');
}
