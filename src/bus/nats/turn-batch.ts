/**
 * Gathers what comes within one turn of the event loop and hands it on together, in order. The client of NATS
 * writes to its socket at the end of every run of microtasks, which is once a message where each comes over a
 * connection of its own; gathered, it writes once a turn.
 */
export class TurnBatch<T> {
  readonly #handle: (item: T) => void;
  #items: T[] = [];

  /** @param handle must not throw */
  constructor(handle: (item: T) => void) {
    this.#handle = handle;
  }

  add(item: T): void {
    if (this.#items.push(item) === 1) setImmediate(() => this.flush());
  }

  flush(): void {
    const items = this.#items;
    this.#items = [];
    for (const item of items) this.#handle(item);
  }
}
