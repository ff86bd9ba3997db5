import type { Writable } from 'node:stream';
import type { Message } from './message.ts';
import { StreamWriter } from './stream-writer.ts';

/**
 * The streams one side writes messages to: many small ones, and few large ones that must not hold the small
 * ones up.
 */
type Lane = 'small' | 'bulk';

/**
 * Frames from this size on take the bulk lane: about the first congestion window of a connection, so smaller
 * ones leave at once.
 */
const BULK_BYTES = 16 * 1024;
/** How long a resource stays on its lane. Longer than any message is likely to be under way. */
const STICKY_MS = 30_000;
const MAX_RESOURCES = 1_024;

export interface MessageLanesComponents {
  /** Opens a stream of the session. @throws what the library throws when it has ended */
  open(): Writable;
  /** Milliseconds on the monotonic clock. */
  now(): number;
}

/**
 * Chooses the stream of each message. Messages about one resource follow each other on one lane, whatever
 * their size, as long as the earlier one may still be under way: a newer state must not overtake an older
 * one.
 */
export class MessageLanes {
  readonly #components: MessageLanesComponents;
  readonly #recent = new Map<string, { lane: Lane; until: number }>();
  readonly #writers = new Map<Lane, StreamWriter>();

  constructor(components: MessageLanesComponents) {
    this.#components = components;
  }

  /** Of the streams that were opened. */
  get writers(): Iterable<StreamWriter> {
    return this.#writers.values();
  }

  /** @param bytes length of the message's frame */
  writer({ route: { resource } }: Message, bytes: number): StreamWriter {
    const { open, now } = this.#components;
    const lane = this.#choose(resource, bytes, now());
    const known = this.#writers.get(lane);
    if (known && !known.stream.destroyed) return known;
    const writer = new StreamWriter(open(), now);
    this.#writers.set(lane, writer);
    return writer;
  }

  #choose(resource: string | undefined, bytes: number, now: number): Lane {
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
