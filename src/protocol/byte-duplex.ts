import { Duplex } from 'node:stream';
import type { ReadableStream, WritableStream } from 'node:stream/web';

/** A bidirectional stream of WebTransport, as the W3C describes it. */
export interface ByteStreamPair {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/**
 * A bidirectional stream of WebTransport as a stream of Node. Unlike `Duplex.fromWeb` it can be destroyed
 * while a write is under way that will never end: WebTransport sessions that vanish leave such writes behind.
 */
export class ByteDuplex extends Duplex {
  readonly #reader;
  readonly #writer;
  #reading = false;
  #written: ((error?: Error | null) => void) | undefined;

  constructor({ readable, writable }: ByteStreamPair) {
    super();
    this.#reader = readable.getReader();
    this.#writer = writable.getWriter();
  }

  override _read(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.#reader.read().then(
      ({ value, done }) => {
        this.#reading = false;
        if (this.destroyed) return;
        if (done) this.push(null);
        else this.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      },
      (error: Error) => this.destroy(error),
    );
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#written = done;
    this.#writer.write(chunk).then(
      () => this.#finishWrite(),
      (error: Error) => this.#finishWrite(error),
    );
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#writer.close().then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#finishWrite(error ?? new Error('the stream was closed'));
    done(error);
  }

  #finishWrite(error?: Error): void {
    const written = this.#written;
    this.#written = undefined;
    written?.(error);
  }
}
