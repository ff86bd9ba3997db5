import type { DeliveryOutcome } from '../contracts/message-bus.ts';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { isSallyportError } from '../core/errors.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Message } from '../protocol/message.ts';

export interface OutboxOptions {
  readonly ackTimeoutMs: number;
  readonly ackRetries: number;
  /** Messages under way at once. */
  readonly window: number;
}

export interface Outgoing {
  readonly message: Message;
  readonly acknowledged: boolean;
  /** On the monotonic clock, milliseconds. */
  readonly expiresAt?: number;
}

export type Fate = DeliveryOutcome | 'disconnected';

/** Rounds of sending before a message is parked; between rounds it waits, ever longer. */
const ROUNDS = 3;
/** Longest wait between rounds, in units of `ackTimeoutMs`. */
const LONGEST_WAIT = 12;

interface Entry extends Outgoing {
  readonly settle: (fate: Fate) => void;
  readonly fate: Promise<Fate>;
  /** Times sent in this round. */
  sent: number;
  everSent: boolean;
  round: number;
  timer?: Timer | undefined;
  done: boolean;
}

interface OutboxParts {
  readonly send: (message: Message) => Promise<void>;
  /** The message went for the first time. */
  readonly sent: (message: Message) => void;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/**
 * What is under way to one edge: sent in order, and, where an acknowledgement is due, sent again every
 * `ackTimeoutMs`, `ackRetries` times, then after a back-off, {@link ROUNDS} rounds in all; then given up as
 * 'unacknowledged' (J1). Bounded by the window of the bus.
 */
export class Outbox {
  readonly #send: (message: Message) => Promise<void>;
  readonly #sent: (message: Message) => void;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #options: () => OutboxOptions;
  readonly #unanswered = new Map<string, Entry>();
  #line: Entry[] = [];
  #sending = false;
  /** Messages beyond their first round. */
  #late = 0;
  #closed = false;
  #whenEmpty: (() => void)[] = [];

  constructor({ send, sent, clock, metrics }: OutboxParts, options: () => OutboxOptions) {
    this.#send = send;
    this.#sent = sent;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#options = options;
  }

  /** Messages that wait for an acknowledgement. */
  get unacknowledged(): number {
    return this.#unanswered.size;
  }

  /** Settles with what became of the message. Never rejects. */
  deliver(outgoing: Outgoing): Promise<Fate> {
    if (this.#closed) return Promise.resolve('disconnected');
    const twin = this.#unanswered.get(outgoing.message.header.msg_id);
    if (twin) return twin.fate;
    const { promise: fate, resolve: settle } = Promise.withResolvers<Fate>();
    const entry: Entry = {
      ...outgoing,
      settle,
      fate,
      sent: 0,
      everSent: false,
      round: 0,
      done: false,
    };
    if (entry.acknowledged) this.#unanswered.set(entry.message.header.msg_id, entry);
    this.#queue(entry);
    return fate;
  }

  /** @returns false when nothing sent to this edge waits for that answer: late, twice, or made up (J3) */
  answer(parentId: string, response: Message): boolean {
    const entry = this.#unanswered.get(parentId);
    if (!entry?.everSent) return false;
    this.#finish(
      entry,
      response.route.operation === 'error'
        ? { kind: 'rejected', response }
        : { kind: 'acknowledged', response },
    );
    return true;
  }

  /** Resolves when no acknowledgement is outstanding. */
  whenEmpty(): Promise<void> {
    if (this.#unanswered.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenEmpty.push(resolve));
  }

  /** Gives everything back, in order. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const rest = new Set([...this.#unanswered.values(), ...this.#line]);
    this.#line = [];
    for (const entry of rest) this.#finish(entry, 'disconnected');
  }

  /**
   * Does not wait for one message to be taken before the next is handed over: a connection may carry large
   * ones beside small ones.
   */
  #queue(entry: Entry): void {
    this.#line.push(entry);
    if (this.#sending) return;
    this.#sending = true;
    for (let next = this.#line.shift(); next; next = this.#line.shift()) void this.#sendOne(next);
    this.#sending = false;
  }

  async #sendOne(entry: Entry): Promise<void> {
    if (entry.done || this.#isExpired(entry)) return;
    entry.everSent = true;
    try {
      await this.#send(entry.message);
    } catch (error) {
      // The end of the connection gives everything back by close(); any other error is this message's own.
      if (isSallyportError(error, 'MESSAGE_INVALID', 'MESSAGE_TOO_LARGE'))
        this.#finish(entry, { kind: 'dropped', reason: error.code.toLowerCase().replaceAll('_', '-') });
      else this.#finish(entry, 'disconnected');
      return;
    }
    if (entry.sent > 0 || entry.round > 0) this.#metrics.messagesRetried.inc();
    else this.#sent(entry.message);
    entry.sent++;
    if (!entry.acknowledged) this.#finish(entry, { kind: 'sent' });
    else if (!entry.done) this.#wait(entry);
  }

  #wait(entry: Entry): void {
    const { ackTimeoutMs } = this.#options();
    entry.timer = this.#clock.setTimeout(() => this.#unheard(entry), ackTimeoutMs);
  }

  #unheard(entry: Entry): void {
    const { ackTimeoutMs, ackRetries, window } = this.#options();
    if (entry.sent <= ackRetries) {
      this.#queue(entry);
      return;
    }
    // Half of the window stays free for what is new: many messages that are never acknowledged must not hold
    // up the others.
    const isCrowded = entry.round === 0 && this.#late >= Math.floor(window / 2);
    if (isCrowded || entry.round + 1 >= ROUNDS) {
      this.#finish(entry, { kind: 'unacknowledged' });
      return;
    }
    if (entry.round++ === 0) this.#late++;
    entry.sent = 0;
    const delayMs = backoffDelayMs(entry.round, {
      minMs: ackTimeoutMs,
      maxMs: ackTimeoutMs * LONGEST_WAIT,
    });
    entry.timer = this.#clock.setTimeout(() => this.#queue(entry), delayMs);
  }

  #isExpired(entry: Entry): boolean {
    if (entry.expiresAt === undefined || this.#clock.monotonic() < entry.expiresAt) return false;
    this.#finish(entry, { kind: 'expired' });
    return true;
  }

  #finish(entry: Entry, fate: Fate): void {
    if (entry.done) return;
    entry.done = true;
    entry.timer?.cancel();
    if (entry.round > 0) this.#late--;
    if (this.#unanswered.get(entry.message.header.msg_id) === entry)
      this.#unanswered.delete(entry.message.header.msg_id);
    entry.settle(fate);
    if (this.#unanswered.size > 0) return;
    const waiting = this.#whenEmpty;
    this.#whenEmpty = [];
    for (const resolve of waiting) resolve();
  }
}
