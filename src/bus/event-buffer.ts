import type { StoredEvent, UpstreamEvent } from '../contracts/message-bus.ts';

export interface EventBufferOptions {
  /** How many events are kept. */
  readonly events: number;
  /** How many bytes of messages are kept, as they were on the wire. */
  readonly eventBytes: number;
}

/** What an event without a message is taken to weigh, bytes. */
const PLAIN_EVENT_BYTES = 128;

/** The newest upstream events, for followers that return. Ids are consecutive integers of equal length, so that they also sort as text. */
export class EventBuffer {
  readonly #options: () => EventBufferOptions;
  #events: StoredEvent[] = [];
  /** Index of the oldest event kept; what lies before is cut off now and then. */
  #start = 0;
  #bytes = 0;
  #firstId: number;

  /** @param firstId ids go on from here; derived from the time, they keep growing over a restart */
  constructor(firstId: number, options: () => EventBufferOptions) {
    this.#firstId = firstId;
    this.#options = options;
  }

  get size(): number {
    return this.#events.length - this.#start;
  }

  push(event: UpstreamEvent): StoredEvent {
    const stored = { id: String(this.#firstId + this.size), event };
    this.#events.push(stored);
    this.#bytes += weight(event);
    const { events, eventBytes } = this.#options();
    while (this.size > events || (this.#bytes > eventBytes && this.size > 0)) this.#dropOldest();
    return stored;
  }

  /** What came after the event of that id; everything kept when the id is unknown or too old. */
  after(id: string): readonly StoredEvent[] {
    const seen = /^\d{1,16}$/.test(id) ? Number(id) : 0;
    const skip = Math.max(0, seen - this.#firstId + 1);
    return this.#events.slice(Math.min(this.#start + skip, this.#events.length));
  }

  #dropOldest(): void {
    this.#bytes -= weight(this.#events[this.#start]!.event);
    this.#events[this.#start] = DROPPED;
    this.#start++;
    this.#firstId++;
    if (this.#start < 1024 || this.#start * 2 < this.#events.length) return;
    this.#events = this.#events.slice(this.#start);
    this.#start = 0;
  }
}

const DROPPED: StoredEvent = {
  id: '',
  event: { type: 'disconnected', node: '', sessionId: '', transport: 'websocket', at: 0, reason: '' },
};

function weight(event: UpstreamEvent): number {
  return event.type === 'message' ? event.bytes : PLAIN_EVENT_BYTES;
}
