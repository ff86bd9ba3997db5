/** Lets a bounded number of actions be under way at once; the others wait in line. */
export class Turnstile {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  #inside = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  async pass<T>(action: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#limit) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#inside++;
    try {
      return await action();
    } finally {
      const next = this.#waiting.shift();
      // The place goes to the next one in line.
      if (next) next();
      else this.#inside--;
    }
  }
}
