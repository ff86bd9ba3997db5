import { vi } from 'vitest';

/** Generous: a wait ends as soon as its condition holds. Milliseconds. */
const LIMIT_MS = 60_000;

/**
 * Waits for a condition. One that answers at once is looked at in each of a thousand turns of the event
 * loop, then every few milliseconds. One that asks somebody is looked at every few milliseconds, so that
 * waiting costs little. The error says what never came true.
 */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = LIMIT_MS,
): Promise<void> {
  const end = performance.now() + limitMs;
  for (let turn = 0; ; turn++) {
    const answer = condition();
    if (await answer) return;
    if (performance.now() > end) throw new Error(`did not happen within ${limitMs} ms: ${what}`);
    const atOnce = typeof answer === 'boolean' && turn < 1_000;
    await new Promise((resolve) => (atOnce ? setImmediate(resolve) : setTimeout(resolve, 10)));
  }
}

/** Waits until a figure stays the same over a whole piece of other work in this process. @returns it */
export async function settled(figure: () => number, work: () => Promise<unknown>): Promise<number> {
  for (;;) {
    const before = figure();
    await work();
    if (figure() === before) return before;
  }
}

/** Repeats an assertion until it does not throw; the error is that of the last time. */
export const eventuallyHolds = (assertion: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(assertion, { timeout: LIMIT_MS, interval: 10 });
