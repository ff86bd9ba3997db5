export type Unsubscribe = () => void;

/** A value that changes in exactly one place and tells everyone who asked. */
export class Property<T> {
  #value: T;
  readonly #listeners = new Set<(next: T, previous: T) => void>();

  constructor(initial: T) {
    this.#value = initial;
  }

  get value(): T {
    return this.#value;
  }

  set(next: T): void {
    const previous = this.#value;
    if (Object.is(next, previous)) return;
    this.#value = next;
    for (const listener of [...this.#listeners]) listener(next, previous);
  }

  onChange(listener: (next: T, previous: T) => void): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
