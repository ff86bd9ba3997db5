/** Copying more costs more than a second buffer to write. */
const MAX_COPIED = 16 * 1024;
const FIN_TEXT = 0x81;
const TWO_BYTES = 126;

/**
 * A whole text frame in one buffer, as a server sends it (RFC 6455 section 5.2); undefined for a long
 * payload. The library writes header and payload apart, which costs TLS as much as a second small message.
 */
export function textFrame(payload: Uint8Array): Buffer | undefined {
  const { length } = payload;
  if (length > MAX_COPIED) return undefined;
  const at = length < TWO_BYTES ? 2 : 4;
  const frame = Buffer.allocUnsafe(at + length);
  frame[0] = FIN_TEXT;
  if (at === 2) frame[1] = length;
  else {
    frame[1] = TWO_BYTES;
    frame.writeUInt16BE(length, 2);
  }
  frame.set(payload, at);
  return frame;
}
