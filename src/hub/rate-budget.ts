/** What one node may send for long, a second. */
export interface RateOptions {
  readonly messages: number;
  readonly bytes: number;
  /** So much of it can be saved up, milliseconds. */
  readonly burstMs: number;
}

/** Which of the two has run out. */
export type RateLimit = 'messages' | 'bytes';

/**
 * Messages and bytes of one node against what it may send. Two token buckets, each kept as the moment at
 * which it will be full again (GCRA, ITU-T I.371 annex A): nothing has to be filled up by a timer.
 */
export class RateBudget {
  #messagesFullAt = 0;
  #bytesFullAt = 0;

  /**
   * Takes one message of so many bytes out of both buckets.
   * @param now milliseconds on the monotonic clock
   * @returns how long the message has to wait for that, and for what; undefined when it need not
   */
  take(
    bytes: number,
    now: number,
    rate: RateOptions,
  ): { readonly waitMs: number; readonly limit: RateLimit } | undefined {
    this.#messagesFullAt = Math.max(this.#messagesFullAt, now) + 1_000 / rate.messages;
    this.#bytesFullAt = Math.max(this.#bytesFullAt, now) + (1_000 * bytes) / rate.bytes;
    const waitMs = Math.max(this.#messagesFullAt, this.#bytesFullAt) - now - rate.burstMs;
    if (waitMs <= 0) return undefined;
    return { waitMs, limit: this.#bytesFullAt > this.#messagesFullAt ? 'bytes' : 'messages' };
  }

  /** Whether it is as good as new. */
  isFull(now: number): boolean {
    return this.#messagesFullAt <= now && this.#bytesFullAt <= now;
  }
}
