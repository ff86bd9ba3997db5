import { X509Certificate } from 'node:crypto';
import { describeError, SallyportError } from '../../core/errors.ts';
import { looksLikePem, readPem } from './pem.ts';

const CERTIFICATE_LABELS = new Set(['CERTIFICATE', 'X509 CERTIFICATE']);

/**
 * Reads every certificate of a value: DER, several DER one after the other, or PEM with any number of blocks;
 * keys beside them are left out (requirement A8). Nothing is skipped silently: one that cannot be read fails
 * the whole.
 * @param what names the value in errors, such as `cadata of secret casecret`
 * @returns at least one certificate, in the order of the input
 * @throws CERTIFICATE_UNREADABLE
 */
export function parseCertificates(bytes: Uint8Array, what: string): [X509Certificate, ...X509Certificate[]] {
  const ders = looksLikePem(bytes)
    ? readPem(bytes)
        .filter(({ label }) => CERTIFICATE_LABELS.has(label))
        .map(({ der }) => der)
    : splitDer(Buffer.from(bytes), what);
  const [first, ...others] = ders.map((der, index) =>
    readOne(der, ders.length === 1 ? what : `number ${index + 1} in ${what}`),
  );
  if (!first) throw unreadable(what, bytes.length === 0 ? 'it is empty' : 'it holds no certificate');
  return [first, ...others];
}

function readOne(der: Buffer, what: string): X509Certificate {
  if (der.length === 0) throw unreadable(what, 'the PEM block is cut off or is not base64');
  try {
    return new X509Certificate(der);
  } catch (error) {
    throw unreadable(what, describeError(error));
  }
}

/** Cuts concatenated DER at the lengths of the outer SEQUENCEs (X.690 section 8.1.3). */
function splitDer(bytes: Buffer, what: string): Buffer[] {
  const parts: Buffer[] = [];
  let rest = bytes;
  while (rest.length > 0) {
    const lengthOfLength = (rest[1] ?? 0) & 0x80 ? rest[1]! & 0x7f : 0;
    const header = 2 + lengthOfLength;
    if (rest[0] !== 0x30 || lengthOfLength > 3 || rest.length < header)
      throw unreadable(what, 'it is neither DER nor PEM');
    const length = header + (lengthOfLength === 0 ? rest[1]! : rest.readUIntBE(2, lengthOfLength));
    if (rest.length < length) throw unreadable(what, 'the DER is cut off');
    parts.push(rest.subarray(0, length));
    rest = rest.subarray(length);
  }
  return parts;
}

function unreadable(what: string, problem: string): SallyportError {
  return new SallyportError('CERTIFICATE_UNREADABLE', { what, problem });
}
