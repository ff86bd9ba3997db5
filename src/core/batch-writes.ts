import type { Writable } from 'node:stream';

/** Sends what is written in this turn of the event loop together: one TLS record, one system call. */
export function batchWrites(stream: Writable): void {
  if (stream.writableCorked > 0) return;
  stream.cork();
  process.nextTick(uncork, stream);
}

function uncork(stream: Writable): void {
  stream.uncork();
}
