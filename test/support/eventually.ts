/** Generous: a wait ends as soon as its condition holds, so only a failing test waits so long. Milliseconds. */
const LIMIT_MS = 60_000;

/**
 * Waits for a condition: for a thousand turns of the event loop without a pause, then every few milliseconds.
 * The error says what never came true.
 */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = LIMIT_MS,
): Promise<void> {
  const end = performance.now() + limitMs;
  for (let turn = 0; !(await condition()); turn++) {
    if (performance.now() > end) throw new Error(`did not happen within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => (turn < 1_000 ? setImmediate(resolve) : setTimeout(resolve, 5)));
  }
}
