/** As many as an edge of our SDK has under way at once, and the same again. */
const REMEMBERED_PER_NODE = 64;
const MAX_NODES = 10_000;

/**
 * Remembers what nodes had acknowledged lately. An edge that lost its connection cannot know whether the hub
 * took its last messages, and sends them again under the same `msg_id`; cloud programs should see them once.
 * Known to this process only: after a restart of the hub, or on another replica, a message may be seen twice.
 */
export class RecentMessages {
  /** Node → message id → undefined when it was taken, the promise before; both in the order of last use. */
  readonly #byNode = new Map<string, Map<string, Promise<void> | undefined>>();

  /**
   * Calls `take`, unless a message of this id was taken or is being taken; then its fate is the answer.
   * Forgets what was not taken. @returns undefined when it is taken
   */
  once(node: string, id: string, take: () => undefined | Promise<void>): undefined | Promise<void> {
    const known = this.#of(node);
    if (known.has(id)) return known.get(id);
    const taken = take()?.then(
      () => {
        if (known.has(id)) known.set(id, undefined);
      },
      (error: unknown) => {
        known.delete(id);
        throw error;
      },
    );
    known.set(id, taken);
    if (known.size > REMEMBERED_PER_NODE) known.delete(known.keys().next().value!);
    return taken;
  }

  #of(node: string): Map<string, Promise<void> | undefined> {
    const known = this.#byNode.get(node) ?? new Map<string, Promise<void> | undefined>();
    this.#byNode.delete(node);
    this.#byNode.set(node, known);
    if (this.#byNode.size > MAX_NODES) this.#byNode.delete(this.#byNode.keys().next().value!);
    return known;
  }
}
