/** What asks for a place; places are shared among addresses. */
export interface Applicant {
  readonly address: string;
}

/**
 * How long a handshake keeps its place, milliseconds. The place is for the work of the hub, which is done in
 * a few; who is slower goes on without one, so that nobody keeps others out by waiting.
 */
const PLACE_MS = 1_000;

/**
 * A bound on handshakes under way, so that a fleet that returns at once does not starve live sessions (I1).
 * While all places are taken, addresses take turns: one that asks a thousand times waits for itself (N1).
 */
export class HandshakePlaces<T extends Applicant> {
  readonly #limit: () => number;
  readonly #begin: (applicant: T) => void;
  readonly #now: () => number;
  /** Since when, oldest first. */
  readonly #taken = new Map<T, number>();
  /** By address, in the order of their turns. */
  readonly #waiting = new Map<string, Set<T>>();

  /** @param components.now milliseconds on the monotonic clock */
  constructor(
    { limit, now }: { readonly limit: () => number; readonly now: () => number },
    begin: (applicant: T) => void,
  ) {
    this.#limit = limit;
    this.#now = now;
    this.#begin = begin;
  }

  /** Begins now, or when its turn comes. */
  ask(applicant: T): void {
    if (this.#taken.size < this.#limit()) {
      this.#taken.set(applicant, this.#now());
      this.#begin(applicant);
      return;
    }
    const same = this.#waiting.get(applicant.address);
    if (same) same.add(applicant);
    else this.#waiting.set(applicant.address, new Set([applicant]));
  }

  /** The handshake is over, or the socket is gone. */
  leave(applicant: T): void {
    if (this.#taken.delete(applicant)) {
      this.#next();
      return;
    }
    const same = this.#waiting.get(applicant.address);
    if (same?.delete(applicant) && same.size === 0) this.#waiting.delete(applicant.address);
  }

  /** Frees the places of slow handshakes; to be called every few hundred milliseconds. */
  sweep(): void {
    const latest = this.#now() - PLACE_MS;
    for (const [applicant, since] of this.#taken) {
      if (since > latest) break;
      this.#taken.delete(applicant);
    }
    this.#next();
  }

  #next(): void {
    while (this.#waiting.size > 0 && this.#taken.size < this.#limit()) {
      const [address, same] = this.#waiting.entries().next().value!;
      const [applicant] = same as Iterable<T> as [T];
      same.delete(applicant);
      // To the end of the row.
      this.#waiting.delete(address);
      if (same.size > 0) this.#waiting.set(address, same);
      this.#taken.set(applicant, this.#now());
      this.#begin(applicant);
    }
  }
}
