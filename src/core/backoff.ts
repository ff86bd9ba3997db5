import type { Clock } from './clock.ts';

export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
  /** Source of randomness in [0, 1), for tests. */
  readonly random?: () => number;
}

/**
 * Delay before attempt `attempt` (0 = the first retry): exponential, capped, with "full jitter" over its
 * upper half, so that many clients that failed together do not return together.
 */
export function backoffDelayMs(
  attempt: number,
  { minMs, maxMs, random = Math.random }: BackoffOptions,
): number {
  const ceiling = Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling / 2 + (ceiling / 2) * random());
}

export interface RetryOptions extends BackoffOptions {
  readonly clock: Clock;
  /** Ends the retries; the returned promise rejects with its reason. */
  readonly signal?: AbortSignal;
  /** Attempts in all; without it, for ever. */
  readonly attempts?: number;
  /** False for an error that will not go away by waiting. Default: retry everything. */
  readonly isRetryable?: (error: unknown) => boolean;
  readonly onRetry?: (error: unknown, delayMs: number, attempt: number) => void;
}

/**
 * Calls `task` until it succeeds, fails for good, or runs out of attempts; then rejects with its last error.
 */
export async function retry<T>(task: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal, attempts = Number.POSITIVE_INFINITY, isRetryable = () => true } = options;
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await task(attempt);
    } catch (error) {
      if (attempt + 1 >= attempts || !isRetryable(error)) throw error;
      const delayMs = backoffDelayMs(attempt, options);
      options.onRetry?.(error, delayMs, attempt);
      await clock.sleep(delayMs, signal);
    }
  }
}
