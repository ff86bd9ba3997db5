/** Capsule types (draft-ietf-webtrans-http2, section 6; RFC 9297 for the first). */
const PADDING = 0x190b4d38;
const STREAM = 0x190b4d3b;
const STREAM_WITH_FIN = 0x190b4d3c;
const ALLOWED_SMALL = new Set([
  0x190b4d39, // WT_RESET_STREAM
  0x190b4d3a, // WT_STOP_SENDING
  0x190b4d3d, // WT_MAX_DATA
  0x190b4d3e, // WT_MAX_STREAM_DATA
  0x190b4d3f, // WT_MAX_STREAMS, bidirectional
  0x190b4d40, // WT_MAX_STREAMS, unidirectional
  0x190b4d41, // WT_DATA_BLOCKED
  0x190b4d42, // WT_STREAM_DATA_BLOCKED
  0x190b4d43, // WT_STREAMS_BLOCKED, unidirectional
  0x190b4d44, // WT_STREAMS_BLOCKED, bidirectional
  0x2843, // CLOSE_WEBTRANSPORT_SESSION: a code and at most 1024 bytes (section 6.12)
]);
const MAX_SMALL_BYTES = 1024 + 64;
/** The one stream of a session, in the library's numbering of streams that clients open. */
const THE_STREAM = 1;
const MAX_HEADER_BYTES = 24;

/**
 * Looks at the capsules of a peer before the library does. The library (1.6.8) keeps datagrams nobody reads
 * and capsules of any announced length in memory, and throws where nobody catches when a peer uses a stream
 * number of the server (requirements I4, I15). Lets through what Sallyport's edges send: the one stream,
 * small signals, padding.
 */
export class CapsuleGuard {
  readonly #header = Buffer.allocUnsafe(MAX_HEADER_BYTES);
  #headerBytes = 0;
  /** Bytes left of the capsule whose header is known. */
  #left = 0;
  #received = 0;

  /** Bytes of all capsules so far. */
  get bytes(): number {
    return this.#received;
  }

  /** @returns what is wrong; undefined when the bytes may pass */
  check(data: Uint8Array): string | undefined {
    this.#received += data.length;
    for (let at = 0; at < data.length; ) {
      if (this.#left > 0) {
        const skipped = Math.min(this.#left, data.length - at);
        this.#left -= skipped;
        at += skipped;
        continue;
      }
      this.#header[this.#headerBytes++] = data[at++]!;
      const judged = judge(this.#header.subarray(0, this.#headerBytes));
      if (typeof judged === 'string') return judged;
      if (judged !== undefined) {
        this.#left = judged;
        this.#headerBytes = 0;
      } else if (this.#headerBytes === MAX_HEADER_BYTES) return 'the header of a capsule is too long';
    }
    return undefined;
  }
}

/** @returns bytes of the capsule that follow these; a fault; or undefined when the header is not complete */
function judge(header: Uint8Array): number | string | undefined {
  const type = varint(header, 0);
  if (!type) return undefined;
  const length = varint(header, type.end);
  if (!length) return undefined;
  if (type.value === PADDING) return length.value;
  if (type.value === STREAM || type.value === STREAM_WITH_FIN) {
    const id = varint(header, length.end);
    if (!id) return length.value === 0 ? 'a capsule is shorter than what it holds' : undefined;
    if (id.value !== THE_STREAM) return 'a session has one stream, opened by the edge';
    const left = length.value - (id.end - length.end);
    return left < 0 ? 'a capsule is shorter than what it holds' : left;
  }
  if (!ALLOWED_SMALL.has(type.value))
    return `capsules of type 0x${type.value.toString(16)} are not understood`;
  return length.value > MAX_SMALL_BYTES ? 'a capsule is too long' : length.value;
}

/** RFC 9000 §16. */
function varint(bytes: Uint8Array, at: number): { value: number; end: number } | undefined {
  const first = bytes[at];
  if (first === undefined) return undefined;
  const end = at + (1 << (first >> 6));
  if (bytes.length < end) return undefined;
  let value = first & 0x3f;
  for (let index = at + 1; index < end; index++) value = value * 256 + bytes[index]!;
  return { value, end };
}
