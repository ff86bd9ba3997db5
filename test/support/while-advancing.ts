import { setTimeout as realDelay } from 'node:timers/promises';
import type { ManualClock } from '../fakes/manual-clock.ts';

/**
 * Moves the clock in steps until the promise settles: work on other threads (keys, signatures) takes real
 * time in between.
 */
export async function whileAdvancing<T>(clock: ManualClock, promise: Promise<T>, stepMs = 250): Promise<T> {
  let settled = false;
  const done = () => {
    settled = true;
  };
  promise.then(done, done);
  while (!settled) {
    await clock.advance(stepMs);
    if (!settled) await realDelay(1);
  }
  return promise;
}

/** Moves the clock in steps until the condition holds. The test's own time-out is the limit. */
export async function advanceUntil(
  clock: ManualClock,
  condition: () => boolean,
  stepMs = 250,
): Promise<void> {
  while (!condition()) {
    await clock.advance(stepMs);
    if (!condition()) await realDelay(1);
  }
}
