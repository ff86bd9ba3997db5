import type { Socket } from 'node:net';

/** Content type of a handshake record (RFC 8446 §5.1). */
const HANDSHAKE = 0x16;
const HEADER_BYTES = 5;

/** Up to the session id: the record's head, the message's, version and random (RFC 8446 §4.1.2). */
const FIXED_BYTES = HEADER_BYTES + 4 + 2 + 32;
/** RFC 6066 §3. */
const SERVER_NAME = 0;
const MAX_NAME = 255;

/**
 * Calls `done` once the first record of TLS is there as a whole, or something that is none; leaves it in the
 * socket. Until then a peer has cost nothing but its socket. Deadlines are the caller's.
 */
export function awaitClientHello(socket: Socket, done: (hello: Buffer) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const onReadable = () => {
    for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
      chunks.push(chunk);
      bytes += chunk.length;
    }
    if (bytes === 0) return;
    const data = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes);
    chunks.splice(0, chunks.length, data);
    if (isIncomplete(data)) return;
    socket.off('readable', onReadable);
    socket.unshift(data);
    done(data);
  };
  socket.on('readable', onReadable);
}

function isIncomplete(data: Buffer): boolean {
  if (data[0] !== HANDSHAKE) return false;
  return data.length < HEADER_BYTES || data.length < HEADER_BYTES + data.readUInt16BE(3);
}

/**
 * The name that a client asked for, for the log of a handshake that fails: Node tells it afterwards only for
 * one that succeeds, and a callback for it would cost each handshake a turn through JavaScript.
 * @returns undefined where none is given, or it is no visible ASCII
 */
export function readServerName(hello: Buffer): string | undefined {
  try {
    const name = serverName(hello);
    return name !== undefined && /^[\x21-\x7e]+$/.test(name) ? name.slice(0, MAX_NAME) : undefined;
  } catch {
    // A RangeError: it says that it is longer than it is.
    return undefined;
  }
}

function serverName(hello: Buffer): string | undefined {
  let at = FIXED_BYTES;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello.readUInt8(at);
  const end = at + 2 + hello.readUInt16BE(at);
  for (at += 2; at < end; ) {
    const type = hello.readUInt16BE(at);
    const length = hello.readUInt16BE(at + 2);
    at += 4;
    // A list of names of which there is one, its kind, and its length.
    if (type === SERVER_NAME) return hello.toString('latin1', at + 5, at + 5 + hello.readUInt16BE(at + 3));
    at += length;
  }
  return undefined;
}
