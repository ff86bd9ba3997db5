import type { Unsubscribe } from './property.ts';

/** Who wants to hear of what happens; each is told in the same turn, in the order they came. */
export class Subscribers<T> {
  readonly #listeners = new Set<(event: T) => void>();

  subscribe(listener: (event: T) => void): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: T): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
}
