import type { Clock } from './clock.ts';

/** A store that does not answer must not hold a stop back, milliseconds. */
const FAREWELL_MS = 2_000;

/**
 * Waits for the last thing a component stores: for two seconds at most, and not beyond the deadline of the
 * stop, which it would otherwise fail.
 * @param lastWrite must not reject
 */
export async function farewell(
  clock: Clock,
  lastWrite: Promise<unknown>,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.setTimeout(done, FAREWELL_MS);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
    else void lastWrite.then(done);
  });
}
