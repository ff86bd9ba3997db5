/**
 * Where time comes from. Everything that waits or compares dates takes a `Clock`, so that tests need not
 * sleep. There are two: the wall clock can jump (an administrator, NTP, a suspended machine), the monotonic
 * one cannot. What one says means nothing to the other.
 */
export interface Clock {
  /** The wall clock: milliseconds since the epoch. For dates of certificates, tokens, messages and logs. */
  now(): number;
  /** Milliseconds since some moment in the past; never goes back. For deadlines, ages and durations. */
  monotonic(): number;
  /** Calls `fn` once after `delayMs`. Does not keep the process alive. */
  setTimeout(fn: () => void, delayMs: number): Timer;
  /** Calls `fn` every `periodMs`. Does not keep the process alive. */
  setInterval(fn: () => void, periodMs: number): Timer;
  /**
   * Resolves after `delayMs`; rejects with the signal's reason when it is aborted. Keeps the process alive:
   * whoever awaits it has more to do.
   */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/**
 * The moment on the monotonic clock that a date will be, as far as the wall clock can be believed now.
 * @param date milliseconds since the epoch
 */
export function monotonicAt(clock: Pick<Clock, 'now' | 'monotonic'>, date: number): number {
  return clock.monotonic() + date - clock.now();
}

export interface Timer {
  cancel(): void;
}

/** `setTimeout` fires at once when the delay exceeds a signed 32-bit integer, so longer waits go in steps. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout(fn, delayMs) {
    let handle: NodeJS.Timeout;
    const arm = (left: number) => {
      const step = Math.min(left, MAX_TIMEOUT_MS);
      handle = setTimeout(() => (left > step ? arm(left - step) : fn()), step).unref();
    };
    arm(Math.max(0, delayMs));
    return { cancel: () => clearTimeout(handle) };
  },
  setInterval(fn, periodMs) {
    const handle = setInterval(fn, Math.min(periodMs, MAX_TIMEOUT_MS)).unref();
    return { cancel: () => clearInterval(handle) };
  },
  sleep(delayMs, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        clearInterval(guard);
        timer.cancel();
        reject(signal!.reason);
      };
      const guard = setInterval(() => {}, MAX_TIMEOUT_MS);
      const timer = this.setTimeout(() => {
        clearInterval(guard);
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, delayMs);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  },
};
