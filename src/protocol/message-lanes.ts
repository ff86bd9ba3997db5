/**
 * The streams one side writes messages to: many small ones, and few large ones that must not hold the small
 * ones up.
 */
export type Lane = 'small' | 'bulk';

/**
 * Frames from this size on take the bulk lane: about the first congestion window of a connection, so smaller
 * ones leave at once.
 */
export const BULK_BYTES = 16 * 1024;
/** How long a resource stays on its lane. Longer than any message is likely to be under way. */
const STICKY_MS = 30_000;
const MAX_RESOURCES = 1_024;

/**
 * Chooses the lane of each message. Messages about one resource follow each other on one lane, whatever their
 * size, as long as the earlier one may still be under way: a newer state must not overtake an older one.
 */
export class MessageLanes {
  readonly #recent = new Map<string, { lane: Lane; until: number }>();

  /** @param now milliseconds since the epoch */
  choose(resource: string | undefined, bytes: number, now: number): Lane {
    const lane = bytes >= BULK_BYTES ? 'bulk' : 'small';
    if (!resource) return lane;
    const last = this.#recent.get(resource);
    const chosen = last && now < last.until ? last.lane : lane;
    // The map stays in the order of last use: the oldest entry is the first.
    this.#recent.delete(resource);
    this.#recent.set(resource, { lane: chosen, until: now + STICKY_MS });
    if (this.#recent.size > MAX_RESOURCES) this.#recent.delete(this.#recent.keys().next().value!);
    return chosen;
  }
}
