import type { Clock, Timer } from '../core/clock.ts';
import { isSallyportError, SallyportError } from '../core/errors.ts';
import type { Message } from '../protocol/message.ts';
import type { EdgeLink } from './transports/transport.ts';

export interface OutboxOptions {
  /** Messages waiting or not yet acknowledged, at most. */
  readonly messages: number;
  /** Bytes of memory they hold, at most. */
  readonly bytes: number;
  /** Messages that may wait for their answer at once on a link. */
  readonly window: number;
  /**
   * Messages whose acknowledgement is overdue by this, counted from when the link took them, are sent again
   * on it: a replica may have died owing it.
   */
  readonly ackTimeoutMs: number;
}

interface Entry {
  readonly message: Message;
  readonly bytes: number;
  /** True when only an answer of the hub ends it; false when the link taking it does. */
  readonly answered: boolean;
  readonly promise: Promise<Message | undefined>;
  readonly resolve: (answer?: Message) => void;
  readonly reject: (error: unknown) => void;
  sent: boolean;
  /** When the link took it, milliseconds since the epoch; undefined before. */
  takenAt: number | undefined;
}

/**
 * What the edge has to say, in order, until the hub has it: kept over reconnects and sent again from the
 * oldest that has no answer, so the hub may see a message twice (same `msg_id`) and never not at all.
 * Bounded; lives in memory.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  /** By msg_id; a Map keeps the order of arrival. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #link: EdgeLink | undefined;
  #held = false;
  #overdueTimer: Timer | undefined;
  readonly #onCaughtUp = new Set<() => void>();
  readonly #clock: Clock;

  constructor({ clock }: { clock: Clock }, options: OutboxOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /**
   * Resolves with the answer, or with nothing once the link took it when none is awaited. The same `msg_id`
   * twice is one message.
   * @throws QUEUE_FULL; HUB_REFUSED_MESSAGE when the hub answers with an error; MESSAGE_INVALID when it is
   * too large for the link
   */
  add(message: Message, { answered }: { answered: boolean }): Promise<Message | undefined> {
    const known = this.#entries.get(message.header.msg_id);
    if (known) return known.promise;
    const bytes = message.heldBytes;
    if (this.#entries.size >= this.#options.messages || this.#bytes + bytes > this.#options.bytes)
      return Promise.reject(new SallyportError('QUEUE_FULL', { queue: 'of the edge client' }));
    const { promise, resolve, reject } = Promise.withResolvers<Message | undefined>();
    this.#entries.set(message.header.msg_id, {
      message,
      bytes,
      answered,
      promise,
      resolve,
      reject,
      sent: false,
      takenAt: undefined,
    });
    this.#bytes += bytes;
    this.#pump();
    return promise;
  }

  /** An answer came. False when nobody waits for it. */
  settle(answer: Message): boolean {
    const entry = this.#entries.get(answer.header.parent_msg_id ?? '');
    if (!entry?.answered) return false;
    this.#remove(entry);
    if (answer.route.operation === 'error') {
      entry.reject(new SallyportError('HUB_REFUSED_MESSAGE', { problem: problemOf(answer) }));
    } else entry.resolve(answer);
    this.#pump();
    return true;
  }

  /** Gives up one message. */
  cancel(id: string, error: unknown): void {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.#remove(entry);
    entry.reject(error);
    this.#pump();
  }

  /** Everything not answered goes to this link, in order, oldest first. */
  attach(link: EdgeLink): void {
    this.detach();
    this.#link = link;
    this.#overdueTimer = this.#clock.setInterval(() => this.#repeatOverdue(), this.#options.ackTimeoutMs);
    for (const entry of this.#entries.values()) entry.sent = false;
    this.#pump();
  }

  detach(): void {
    this.#link = undefined;
    this.#overdueTimer?.cancel();
  }

  /**
   * Sends nothing new until {@link resume}, and resolves when all that was sent is acknowledged, or after
   * `timeoutMs`: a link that is exchanged now leaves nothing in doubt.
   */
  async hold(timeoutMs: number): Promise<void> {
    this.#held = true;
    if (!this.#owesAcknowledgements()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#clock.setTimeout(resolve, timeoutMs);
    this.#onCaughtUp.add(resolve);
    await promise;
    this.#onCaughtUp.delete(resolve);
    timer.cancel();
  }

  resume(): void {
    this.#held = false;
    this.#pump();
  }

  failAll(error: unknown): void {
    for (const entry of [...this.#entries.values()]) {
      this.#remove(entry);
      entry.reject(error);
    }
  }

  /**
   * Does not wait for one message to be taken before the next is handed over: a link may carry large ones
   * beside small ones.
   */
  #pump(): void {
    for (let entry = this.#next(); entry && this.#link; entry = this.#next()) {
      entry.sent = true;
      entry.takenAt = undefined;
      void this.#send(entry, this.#link);
    }
  }

  async #send(entry: Entry, link: EdgeLink): Promise<void> {
    try {
      await link.send(entry.message);
      entry.takenAt = this.#clock.monotonic();
      if (!entry.answered && this.#remove(entry)) {
        entry.resolve();
        this.#pump();
      }
    } catch (error) {
      if (isSallyportError(error, 'MESSAGE_INVALID')) {
        if (this.#remove(entry)) entry.reject(error);
        this.#pump();
      } else if (this.#link === link) {
        // Its end is on its way; the next link takes over.
        entry.sent = false;
        this.#link = undefined;
      }
    }
  }

  #next(): Entry | undefined {
    if (this.#held) return undefined;
    let waiting = 0;
    for (const entry of this.#entries.values()) {
      if (!entry.sent) return entry;
      if (++waiting >= this.#options.window) return undefined;
    }
    return undefined;
  }

  #remove(entry: Entry): boolean {
    if (!this.#entries.delete(entry.message.header.msg_id)) return false;
    this.#bytes -= entry.bytes;
    if (!this.#owesAcknowledgements()) for (const caughtUp of this.#onCaughtUp) caughtUp();
    return true;
  }

  /** Questions do not count: how long a program in the cloud thinks about them says nothing about the hub. */
  #owesAcknowledgements(): boolean {
    for (const { sent, message } of this.#entries.values()) if (sent && message.header.sync) return true;
    return false;
  }

  #repeatOverdue(): void {
    const since = this.#clock.monotonic() - this.#options.ackTimeoutMs;
    const waiting = [...this.#entries.values()].filter(
      ({ sent, takenAt, message }) => sent && takenAt !== undefined && message.header.sync,
    );
    if (!waiting.some(({ takenAt }) => takenAt! <= since)) return;
    // All of them, so that the order stays.
    for (const entry of waiting) entry.sent = false;
    this.#pump();
  }
}

/** What a person reads of an answer that is an error, 300 characters at most. */
function problemOf({ body }: Message): string {
  const isShort = body.bytes.length <= 2_000;
  const text = isShort && typeof body.value === 'string' ? body.value : body.bytes.toString('utf8', 0, 2_000);
  return text.slice(0, 300);
}
