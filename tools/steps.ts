/** In order; each throws what is wrong, and may say what it found. */
export type Steps = Readonly<Record<string, () => Promise<string | undefined> | string | undefined>>;

export function assert(condition: boolean, problem: string): asserts condition {
  if (!condition) throw new Error(problem);
}
