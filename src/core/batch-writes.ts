import type { Writable } from 'node:stream';

/**
 * Sends together what is written while the event loop handles what has arrived: one TLS record, one system
 * call. Each TLS record that arrives is a turn of its own, so the end of a turn would be too early.
 */
export function batchWrites(stream: Writable): void {
  if (stream.writableCorked > 0) return;
  stream.cork();
  setImmediate(sendBatch, stream);
}

/** Sends what {@link batchWrites} has held, for who is about to destroy the stream. */
export function sendBatch(stream: Writable): void {
  stream.uncork();
}
