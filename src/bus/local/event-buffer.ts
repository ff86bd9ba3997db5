import type { UpstreamEvent } from '../../contracts/message-bus.ts';

export interface KeptEvent {
  readonly id: string;
  readonly event: UpstreamEvent;
}

export interface EventBufferOptions {
  /** How many events are kept. */
  readonly events: number;
  /** How many bytes of memory the kept messages may hold. */
  readonly eventBytes: number;
}

/** What an event without a message is taken to weigh, bytes. */
const PLAIN_EVENT_BYTES = 128;

/**
 * The newest upstream events, for followers that return: a ring, so that keeping an event costs one store.
 * Ids are consecutive integers of equal length, so that they also sort as text.
 */
export class EventBuffer {
  readonly #options: () => EventBufferOptions;
  #ring: (UpstreamEvent | undefined)[];
  /** What each place weighs: an event of long ago is in no cache any more when it goes. */
  #weights: number[];
  #capacity: number;
  /** Id of the first event of all, of the oldest that is kept, and of the next one. */
  readonly #origin: number;
  #firstId: number;
  #nextId: number;
  #bytes = 0;

  /** @param firstId ids go on from here; derived from the time, they keep growing over a restart */
  constructor(firstId: number, options: () => EventBufferOptions) {
    this.#origin = firstId;
    this.#firstId = firstId;
    this.#nextId = firstId;
    this.#options = options;
    this.#capacity = options().events;
    this.#ring = emptyRing(this.#capacity, undefined);
    this.#weights = emptyRing(this.#capacity, 0);
  }

  /** @returns the id of the event */
  push(event: UpstreamEvent): number {
    const { events, eventBytes } = this.#options();
    if (events !== this.#capacity) this.#resize(events);
    if (this.#nextId - this.#firstId >= this.#capacity) this.#dropOldest();
    const id = this.#nextId++;
    this.#store(id % this.#capacity, event, weight(event));
    while (this.#bytes > eventBytes && this.#firstId < this.#nextId) this.#dropOldest();
    return id;
  }

  /** Id of the newest event; of the one before the first while there is none. */
  get lastId(): string {
    return String(this.#nextId - 1);
  }

  /**
   * What is kept of what came after the event of that id, and how many are not. Everything kept, and
   * undefined, when the id is none of this buffer: of an earlier process, or of another gateway.
   */
  after(id: string): { readonly lost: number | undefined; readonly kept: readonly KeptEvent[] } {
    const seen = /^\d{1,16}$/.test(id) ? Number(id) : Number.NaN;
    const isOurs = seen >= this.#origin - 1 && seen < this.#nextId;
    const from = isOurs ? Math.max(this.#firstId, seen + 1) : this.#firstId;
    const kept: KeptEvent[] = [];
    for (let next = from; next < this.#nextId; next++)
      kept.push({ id: String(next), event: this.#ring[next % this.#capacity]! });
    return { lost: isOurs ? from - seen - 1 : undefined, kept };
  }

  #dropOldest(): void {
    this.#store(this.#firstId++ % this.#capacity, undefined, 0);
  }

  #store(place: number, event: UpstreamEvent | undefined, bytes: number): void {
    this.#bytes += bytes - this.#weights[place]!;
    this.#ring[place] = event;
    this.#weights[place] = bytes;
  }

  #resize(capacity: number): void {
    while (this.#nextId - this.#firstId > capacity) this.#dropOldest();
    const moved = <T>(from: readonly T[], nothing: T) => {
      const ring = emptyRing(capacity, nothing);
      for (let id = this.#firstId; id < this.#nextId; id++) ring[id % capacity] = from[id % this.#capacity]!;
      return ring;
    };
    this.#ring = moved(this.#ring, undefined);
    this.#weights = moved(this.#weights, 0);
    this.#capacity = capacity;
  }
}

/** Dense from the start, so that stores go to a plain array whichever place comes first. */
function emptyRing<T>(capacity: number, nothing: T): T[] {
  return Array.from({ length: capacity }, () => nothing);
}

function weight(event: UpstreamEvent): number {
  return event.type === 'message' ? event.message.heldBytes : PLAIN_EVENT_BYTES;
}
