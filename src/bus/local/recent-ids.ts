import type { Clock } from '../../core/clock.ts';

/** As NATS' `bus.nats.limits.duplicateWindowMs` by default. */
const WINDOW_MS = 120_000;
/** Beyond it the oldest is forgotten early: memory is bounded whatever comes. */
const REMEMBERED = 10_000;

/** Ids of messages taken lately, so that one that enters twice is delivered once. */
export class RecentIds {
  readonly #clock: Clock;
  /** Id → when it was taken, oldest first. */
  readonly #taken = new Map<string, number>();

  constructor({ clock }: { clock: Clock }) {
    this.#clock = clock;
  }

  has(id: string): boolean {
    const at = this.#taken.get(id);
    return at !== undefined && this.#clock.monotonic() - at < WINDOW_MS;
  }

  add(id: string): void {
    this.#taken.delete(id);
    this.#taken.set(id, this.#clock.monotonic());
    if (this.#taken.size > REMEMBERED) this.#taken.delete(this.#taken.keys().next().value!);
  }
}
