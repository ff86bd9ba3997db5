import type { Socket } from 'node:net';

/** Content type of a handshake record (RFC 8446 §5.1). */
const HANDSHAKE = 0x16;
const HEADER_BYTES = 5;

/**
 * Calls `done` once the first record of TLS is there as a whole, or something that is none; leaves it in the
 * socket. Until then a peer has cost nothing but its socket. Deadlines are the caller's.
 */
export function awaitClientHello(socket: Socket, done: () => void): void {
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
    done();
  };
  socket.on('readable', onReadable);
}

function isIncomplete(data: Buffer): boolean {
  if (data[0] !== HANDSHAKE) return false;
  return data.length < HEADER_BYTES || data.length < HEADER_BYTES + data.readUInt16BE(3);
}
