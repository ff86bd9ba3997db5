import type { Clock } from './clock.ts';

/** A store that does not answer must not hold a stop back, milliseconds. */
const FAREWELL_MS = 2_000;

/** Waits for the last thing a component stores, for two seconds at most. @param lastWrite must not reject */
export async function farewell(clock: Clock, lastWrite: Promise<unknown>): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = clock.setTimeout(resolve, FAREWELL_MS);
    void lastWrite.then(() => {
      timer.cancel();
      resolve();
    });
  });
}
