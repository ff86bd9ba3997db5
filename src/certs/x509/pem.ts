/** One block of a PEM file. */
export interface PemBlock {
  readonly label: string;
  readonly der: Buffer;
  /** True for the old OpenSSL style, `Proc-Type: 4,ENCRYPTED` (RFC 1421 section 4.6.1.1). */
  readonly encrypted: boolean;
}

/** Far above any chain or trust bundle; keeps hostile input cheap. */
const MAX_BYTES = 1024 * 1024;

export function looksLikePem(bytes: Uint8Array): boolean {
  return bytes.length <= MAX_BYTES && Buffer.from(bytes).includes('-----BEGIN ');
}

/**
 * The blocks of a PEM text (RFC 7468, and the header lines of RFC 1421), whatever stands between them. Never
 * throws.
 */
export function readPem(bytes: Uint8Array): PemBlock[] {
  if (bytes.length > MAX_BYTES) return [];
  const blocks: PemBlock[] = [];
  const text = Buffer.from(bytes).toString('latin1');
  for (let from = 0; ; ) {
    const begin = text.indexOf('-----BEGIN ', from);
    if (begin < 0) return blocks;
    const labelEnd = text.indexOf('-----', begin + 11);
    if (labelEnd < 0) return blocks;
    const label = text.slice(begin + 11, labelEnd);
    const end = text.indexOf(`-----END ${label}-----`, labelEnd + 5);
    from = labelEnd + 5;
    // A block without its end was cut off: whoever reads the others must not take the rest for the whole.
    if (end < 0) blocks.push({ label, der: Buffer.alloc(0), encrypted: false });
    else {
      const lines = text.slice(labelEnd + 5, end).split(/\r?\n/);
      const body = lines.filter((line) => !line.includes(':')).join('');
      const encrypted = lines.some((line) => /^(Proc-Type:.*ENCRYPTED|DEK-Info:)/.test(line));
      const valid = /^[A-Za-z0-9+/=\s]*$/.test(body);
      blocks.push({ label, der: valid ? Buffer.from(body, 'base64') : Buffer.alloc(0), encrypted });
      from = end;
    }
  }
}
