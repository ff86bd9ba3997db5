import type { Writable } from 'node:stream';
import { SallyportError } from '../core/errors.ts';

/** Bytes given to the stream at a time, so that progress can be seen within a large frame. */
const PIECE_BYTES = 64 * 1024;

/** Writes frames to one stream, in order, and knows for how long the other side has taken nothing. */
export class StreamWriter {
  readonly stream: Writable;
  readonly #now: () => number;
  #buffered = 0;
  #lastProgress = 0;

  /** @param now milliseconds on the monotonic clock */
  constructor(stream: Writable, now: () => number) {
    this.stream = stream;
    this.#now = now;
  }

  /** Bytes the stream has not taken yet. */
  get bufferedBytes(): number {
    return this.#buffered;
  }

  /** How long nothing has been taken of what waits; 0 when nothing waits. */
  stalledMs(now: number): number {
    return this.#buffered === 0 ? 0 : now - this.#lastProgress;
  }

  /** Resolves when the stream has taken the whole frame. @throws SESSION_CLOSED when it ended before */
  write(frame: Uint8Array): Promise<void> {
    if (this.#buffered === 0) this.#lastProgress = this.#now();
    this.#buffered += frame.length;
    return new Promise((resolve, reject) => {
      for (let at = 0; at < frame.length; at += PIECE_BYTES) {
        const piece = frame.subarray(at, at + PIECE_BYTES);
        const isLast = at + PIECE_BYTES >= frame.length;
        this.stream.write(piece, (error) => {
          this.#buffered -= piece.length;
          this.#lastProgress = this.#now();
          if (error) reject(new SallyportError('SESSION_CLOSED', { reason: error.message }, error));
          else if (isLast) resolve();
        });
      }
    });
  }
}
