import type { DeliveryOutcome, DownstreamConsumer, DownstreamItem } from '../contracts/message-bus.ts';

/**
 * One message in a backlog, waiting or under way. A link of a doubly linked list, so that any place is left
 * or refilled at once.
 */
export interface Slot {
  readonly item: DownstreamItem;
  readonly key: string | undefined;
  readonly bytes: number;
  /** Milliseconds on the monotonic clock. */
  readonly expiresAt: number;
  readonly settle: (outcome: DeliveryOutcome) => void;
  /** The attachment that is delivering it; undefined while it waits. */
  owner?: Attachment | undefined;
  done?: boolean;
  previous?: Slot | undefined;
  next?: Slot | undefined;
}

/** One session's hold on a backlog. */
export interface Attachment {
  readonly consumer: DownstreamConsumer;
  /** Undefined until the first. */
  underWay?: Set<Slot>;
  /** False once the session said it is gone. */
  live: boolean;
}

/**
 * What is held for one node, in order. A newer version takes the place of an older one that waits; one that
 * is under way is left alone, and the newer waits behind it, so that versions of one object never overtake
 * each other.
 */
export class NodeBacklog {
  readonly node: string;
  attachment: Attachment | undefined;
  /** Everything held: waiting and under way. */
  messages = 0;
  bytes = 0;
  waitingMessages = 0;
  waitingBytes = 0;
  #head: Slot | undefined;
  #tail: Slot | undefined;
  // Undefined until the first: most nodes have nothing waiting, and an empty map takes 300 bytes.
  #waiting: Map<string, Slot> | undefined;
  #underWay: Map<string, Slot> | undefined;

  constructor(node: string) {
    this.node = node;
  }

  /** The waiting message about the same object. */
  waitingFor(key: string | undefined): Slot | undefined {
    return key === undefined ? undefined : this.#waiting?.get(key);
  }

  /** The newest message held about the same object. */
  newestFor(key: string | undefined): Slot | undefined {
    return key === undefined ? undefined : (this.#waiting?.get(key) ?? this.#underWay?.get(key));
  }

  append(slot: Slot): void {
    this.#link(slot, this.#tail);
    this.#count(slot, 1);
    if (slot.key !== undefined) this.#setWaiting(slot.key, slot);
  }

  /** `slot` takes the place of `old`, which waits about the same object. */
  replace(old: Slot, slot: Slot): void {
    const place = old.previous;
    this.remove(old);
    this.#link(slot, place);
    this.#count(slot, 1);
    this.#setWaiting(slot.key!, slot);
  }

  /**
   * The next message that may go, now under way for `owner`: the first that waits and has no older version
   * under way.
   */
  take(owner: Attachment): Slot | undefined {
    for (let slot = this.#head; slot; slot = slot.next) {
      if (slot.owner || (slot.key !== undefined && this.#underWay?.has(slot.key))) continue;
      slot.owner = owner;
      owner.underWay ??= new Set();
      owner.underWay.add(slot);
      this.waitingMessages--;
      this.waitingBytes -= slot.bytes;
      if (slot.key !== undefined) {
        this.#waiting?.delete(slot.key);
        this.#underWay ??= new Map();
        this.#underWay.set(slot.key, slot);
      }
      return slot;
    }
    return undefined;
  }

  /**
   * A message under way waits again, in the place it never left. @returns false when a newer version waits
   * already: the caller removes it
   */
  putBack(slot: Slot): boolean {
    slot.owner?.underWay?.delete(slot);
    slot.owner = undefined;
    this.waitingMessages++;
    this.waitingBytes += slot.bytes;
    if (slot.key === undefined) return true;
    this.#underWay?.delete(slot.key);
    if (this.#waiting?.has(slot.key)) return false;
    this.#setWaiting(slot.key, slot);
    return true;
  }

  remove(slot: Slot): void {
    slot.done = true;
    this.#count(slot, -1);
    if (slot.previous) slot.previous.next = slot.next;
    else this.#head = slot.next;
    if (slot.next) slot.next.previous = slot.previous;
    else this.#tail = slot.previous;
    slot.owner?.underWay?.delete(slot);
    if (slot.key === undefined) return;
    if (this.#waiting?.get(slot.key) === slot) this.#waiting?.delete(slot.key);
    if (this.#underWay?.get(slot.key) === slot) this.#underWay?.delete(slot.key);
  }

  oldestWaiting(): Slot | undefined {
    for (let slot = this.#head; slot; slot = slot.next) if (!slot.owner) return slot;
    return undefined;
  }

  /** Everything held, in order; the current one may be removed while iterating. */
  *slots(): Generator<Slot> {
    for (let slot = this.#head; slot; ) {
      const next: Slot | undefined = slot.next;
      yield slot;
      slot = next;
    }
  }

  #setWaiting(key: string, slot: Slot): void {
    this.#waiting ??= new Map();
    this.#waiting.set(key, slot);
  }

  #link(slot: Slot, after: Slot | undefined): void {
    slot.previous = after;
    slot.next = after ? after.next : this.#head;
    if (after) after.next = slot;
    else this.#head = slot;
    if (slot.next) slot.next.previous = slot;
    else this.#tail = slot;
  }

  #count(slot: Slot, sign: 1 | -1): void {
    this.messages += sign;
    this.bytes += sign * slot.bytes;
    if (slot.owner) return;
    this.waitingMessages += sign;
    this.waitingBytes += sign * slot.bytes;
  }
}
