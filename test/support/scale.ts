/** How much of a stress or fuzz test runs: a tenth at home, all in `.ci/run`, which sets TEST_SCALE=1. */
export const TEST_SCALE = Number(process.env.TEST_SCALE ?? 0.1);

/** So many of `whole` rounds as TEST_SCALE says, and never fewer than `least`. */
export function scaled(whole: number, least = 1): number {
  return Math.max(Math.min(whole, least), Math.round(whole * TEST_SCALE));
}
