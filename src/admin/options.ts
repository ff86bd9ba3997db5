/** What the admin listener can be told. */
export interface AdminOptions {
  /** Largest request body, bytes: a message of the largest size, written as JSON. */
  readonly bodyBytes: number;
  /** Programs that may follow events at once. */
  readonly maxFollowers: number;
  /** Bytes that may wait for one follower before it is cut off (STYLE: slow peers are a designed case). */
  readonly followerBufferBytes: number;
  /** Time in which a follower that was cut off must take what still waits for it, milliseconds. */
  readonly followerFlushMs: number;
  /**
   * Period of the comments that keep an idle stream alive and of the renewed check of its certificate,
   * milliseconds.
   */
  readonly heartbeatMs: number;
}

export const DEFAULT_ADMIN_OPTIONS: AdminOptions = {
  bodyBytes: 17 * 1024 * 1024,
  maxFollowers: 100,
  followerBufferBytes: 8 * 1024 * 1024,
  followerFlushMs: 30_000,
  heartbeatMs: 15_000,
};
