/** Lets a bounded number of actions be under way at once; the others wait in line. */
export class Turnstile {
  readonly #limit: number;
  readonly #soon: (begin: () => void) => void;
  readonly #waiting: (() => void)[] = [];
  #inside = 0;

  /** @param soon begins actions, those of one turn of the event loop together */
  constructor(limit: number, soon: (begin: () => void) => void) {
    this.#limit = limit;
    this.#soon = soon;
  }

  async pass<T>(action: () => Promise<T>): Promise<T> {
    await new Promise<void>((begin) => {
      if (this.#inside >= this.#limit) this.#waiting.push(begin);
      else {
        this.#inside++;
        this.#soon(begin);
      }
    });
    try {
      return await action();
    } finally {
      const next = this.#waiting.shift();
      // The place goes to the next one in line.
      if (next) this.#soon(next);
      else this.#inside--;
    }
  }
}
