import type { EdgeConnectionHandler } from '../contracts/edge-connection.ts';
import type { Message } from '../protocol/message.ts';

/** The connection, as its intake sees it. */
export interface IntakeOwner {
  /** Undefined when nothing is to be handed over; a promise where it takes some turns of the event loop. */
  decode(bytes: Uint8Array): Message | undefined | Promise<Message | undefined>;
  /** The bytes are no message. */
  onBroken(error: unknown): void;
  /** The handler failed. */
  onFailed(error: unknown): void;
  /** So many bytes wait. While `isFull`, nothing more should be read. */
  onBacklog(bytes: number, isFull: boolean): void;
}

export interface IntakeLimits {
  readonly maxPendingUpstream: number;
  readonly maxMessageBytes: number;
}

/** What waits before nothing more is read: enough to see keepalives behind large or many messages (I9). */
const MAX_WAITING_BYTES = 16 * 1024;

/**
 * What a connection has read goes through here, in order: the handler grants it, it is decoded, it is with
 * the handler. At most `maxPendingUpstream` messages, or one of the largest, are with the handler; the rest
 * waits. What arrives meanwhile counts as life; when it is too much, reading pauses, and the silence that
 * follows is ours.
 */
export class UpstreamIntake {
  readonly #owner: IntakeOwner;
  readonly #limits: () => IntakeLimits;
  #handler: EdgeConnectionHandler | undefined;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #pending = 0;
  #pendingBytes = 0;
  /** A message waits to be granted, or is being decoded. */
  #isBusy = false;
  #isFull = false;
  #ended = false;

  constructor(owner: IntakeOwner, limits: () => IntakeLimits) {
    this.#owner = owner;
    this.#limits = limits;
  }

  receive(handler: EdgeConnectionHandler): void {
    this.#handler = handler;
  }

  /** The next message, as it came. */
  take(bytes: Uint8Array): void {
    if (this.#ended) return;
    if (this.#waiting.length === 0 && this.#mayBegin(bytes)) {
      this.#begin(bytes);
      return;
    }
    this.#handler?.onAlive();
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#isFull ||= this.#waitingBytes > MAX_WAITING_BYTES;
    this.#owner.onBacklog(this.#waitingBytes, this.#isFull);
  }

  /** While nothing is read the node cannot be heard. Called about once a second. */
  sweep(): void {
    if (this.#isFull) this.#handler?.onAlive();
  }

  /** Nothing more is handed over. @returns how many messages are lost */
  end(): number {
    const lost = this.#waiting.length + (this.#isBusy && !this.#ended ? 1 : 0);
    this.#ended = true;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#isFull = false;
    return lost;
  }

  #mayBegin({ length }: Uint8Array): boolean {
    if (this.#isBusy) return false;
    if (this.#pending === 0) return true;
    const { maxPendingUpstream, maxMessageBytes } = this.#limits();
    return this.#pending < maxPendingUpstream && this.#pendingBytes + length <= maxMessageBytes;
  }

  #begin(bytes: Uint8Array): void {
    try {
      const granted = this.#handler?.onArrival(bytes.length);
      const message = granted ? granted.then(() => this.#decode(bytes)) : this.#decode(bytes);
      if (message instanceof Promise) this.#beginLater(message, bytes.length);
      else this.#hand(message, bytes.length);
    } catch (error) {
      this.#owner.onBroken(error);
    }
  }

  #beginLater(message: Promise<Message | undefined>, bytes: number): void {
    this.#isBusy = true;
    message
      .then(
        (decoded) => this.#hand(decoded, bytes),
        (error: unknown) => {
          if (!this.#ended) this.#owner.onBroken(error);
        },
      )
      .finally(() => {
        this.#isBusy = false;
        this.#goOn();
      });
  }

  #decode(bytes: Uint8Array): Message | undefined | Promise<Message | undefined> {
    return this.#ended ? undefined : this.#owner.decode(bytes);
  }

  #hand(message: Message | undefined, bytes: number): void {
    if (!message || this.#ended) return;
    try {
      const taken = this.#handler?.onMessage(message, bytes);
      if (!taken) return;
      this.#pending++;
      this.#pendingBytes += bytes;
      taken.then(
        () => this.#settled(bytes),
        (error: unknown) => this.#owner.onFailed(error),
      );
    } catch (error) {
      this.#owner.onFailed(error);
    }
  }

  #settled(bytes: number): void {
    this.#pending--;
    this.#pendingBytes -= bytes;
    this.#goOn();
  }

  #goOn(): void {
    if (this.#ended || this.#waiting.length === 0) return;
    while (this.#waiting[0] && this.#mayBegin(this.#waiting[0])) {
      const bytes = this.#waiting.shift()!;
      this.#waitingBytes -= bytes.length;
      this.#begin(bytes);
    }
    if (this.#ended) return;
    if (this.#waiting.length === 0) this.#isFull = false;
    this.#owner.onBacklog(this.#waitingBytes, this.#isFull);
  }
}
