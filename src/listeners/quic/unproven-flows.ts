import type { Flow } from './flow.ts';

/** Addresses that are remembered, at most; about 100 bytes each. */
const MAX_MET = 65_536;

/**
 * Flows whose address is not proven yet, each with a socket of its own. Whoever forges senders can begin any
 * number of them, so the oldest gives way: at 4,096 and 10,000 forged first datagrams a second a stranger has
 * 0.2 to 0.4 s to answer his Retry. Addresses from which a session was opened before do not wait for that
 * flood: half of the places are theirs, and half are the strangers'.
 */
export class UnprovenFlows {
  /** Latest last. */
  readonly #met = new Set<string>();
  /** In the order of their beginning. */
  readonly #strangers = new Set<Flow>();
  readonly #acquaintances = new Set<Flow>();

  get size(): number {
    return this.#strangers.size + this.#acquaintances.size;
  }

  /** A session was opened from there. */
  meet(address: string): void {
    this.#met.delete(address);
    this.#met.add(address);
    if (this.#met.size > MAX_MET) this.#met.delete(this.#met.values().next().value!);
  }

  add(flow: Flow): void {
    (this.#met.has(flow.address) ? this.#acquaintances : this.#strangers).add(flow);
  }

  delete(flow: Flow): void {
    if (!this.#strangers.delete(flow)) this.#acquaintances.delete(flow);
  }

  /** The one that gives way: the oldest of those who have more than their half. */
  next(): Flow | undefined {
    const many = this.#strangers.size >= this.#acquaintances.size ? this.#strangers : this.#acquaintances;
    return many.values().next().value;
  }
}
