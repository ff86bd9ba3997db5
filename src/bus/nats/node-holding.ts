import type { DeliveryOutcome, DownstreamConsumer } from '../../contracts/message-bus.ts';
import { type Clock, monotonicAt } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Unsubscribe } from '../../core/property.ts';
import { type Attachment, NodeBacklog, type Slot } from '../node-backlog.ts';
import { isOlderVersion, objectKey } from '../object-key.ts';
import { decodeItem, HEADER, type Received } from './nats-messages.ts';

/**
 * Messages one node may start in one turn of the event loop, so that a long backlog does not delay the other
 * nodes (I10).
 */
const TURN = 32;
/** Messages of one node in memory, at least; the rest waits in the stream. */
const MIN_HELD = 64;
const HELD_BYTES = 8 * 1024 * 1024;

/** A message as the stream holds it. */
export interface StoredItem extends Omit<Received, 'subject'> {
  readonly seq: number;
}

export interface SettledMessage {
  readonly node: string;
  /** Undefined when the stream it was in is gone. */
  readonly seq: number | undefined;
  readonly messageId: string | undefined;
  readonly outcomeTo: string | undefined;
}

/** What all holdings of a replica share. */
export interface HoldingServices {
  readonly clock: Clock;
  readonly log: Logger;
  readonly isAcknowledged: Parameters<typeof decodeItem>[2];
  /** What the stream holds for the node from that sequence on, in order, at most `max`. */
  read(node: string, fromSeq: number, max: number): AsyncIterable<StoredItem>;
  /** Whether a message was settled already, and only waits to be removed. */
  isSettled(seq: number): boolean;
  settled(message: SettledMessage, outcome: DeliveryOutcome): void;
  /** Asks to be served in the next turn. */
  serveSoon(holding: NodeHolding): void;
  /** Asks for {@link NodeHolding.fetch}. */
  fetchSoon(holding: NodeHolding): void;
}

/**
 * What this replica has in memory for one node it holds: a window on the node's messages in the stream. New
 * ones come announced ({@link offer}) and are taken at once while the window is complete; whatever was
 * missed, or found no room, is read from the stream. A message leaves the stream when its fate is known, so
 * that a session that ends, or a replica that dies, leaves everything where the next one finds it.
 */
export class NodeHolding {
  readonly node: string;
  readonly consumer: DownstreamConsumer;
  /** Which attaching this serves: stays when the stream is replaced. */
  readonly attachment: object;
  readonly #services: HoldingServices;
  readonly #session: Attachment;
  #backlog: NodeBacklog | undefined;
  /** Everything up to this sequence was taken over, or settled. */
  #cursor = 0;
  /** The newest sequence that was announced. */
  #announced = 0;
  /** There may be more in the stream than was taken over. */
  #behind = true;
  #fetching = false;
  #forgotten = false;
  unsubscribe: Unsubscribe = () => {};

  constructor(
    services: HoldingServices,
    { node, consumer, attachment }: Pick<NodeHolding, 'node' | 'consumer' | 'attachment'>,
  ) {
    this.#services = services;
    this.node = node;
    this.consumer = consumer;
    this.attachment = attachment;
    this.#session = { consumer, live: true };
  }

  /** Waiting in memory; not what is under way. */
  get waiting(): { readonly messages: number; readonly bytes: number } {
    return { messages: this.#backlog?.waitingMessages ?? 0, bytes: this.#backlog?.waitingBytes ?? 0 };
  }

  /** A message the stream has just taken. `previousSeq`: the one before it that is still there, 0 without. */
  offer(item: StoredItem, previousSeq: number): void {
    const { seq } = item;
    this.#announced = Math.max(this.#announced, seq);
    if (!this.#session.live || seq <= this.#cursor) return;
    if (!this.#behind && !this.#fetching && previousSeq <= this.#cursor && this.#room() > 0) {
      this.#take(item);
      this.#services.serveSoon(this);
      return;
    }
    this.check();
  }

  /** The stream holds a message of that sequence. */
  missed(seq: number): void {
    if (seq <= this.#cursor) return;
    this.#announced = Math.max(this.#announced, seq);
    this.check();
  }

  /** Something may have been missed: looks into the stream as soon as there is room. */
  check(): void {
    this.#behind = true;
    if (this.#session.live && !this.#fetching && this.#isWorthFetching()) this.#services.fetchSoon(this);
  }

  /**
   * Takes over what the stream holds, as far as there is room. @throws what NATS answers; then it has to be
   * asked for again
   */
  async fetch(): Promise<void> {
    if (this.#fetching || !this.#session.live) return;
    this.#fetching = true;
    try {
      // A message that was announced before the stream showed it is looked for again.
      do {
        if (!this.#isWorthFetching()) return;
        const asked = this.#room();
        let got = 0;
        for await (const item of this.#services.read(this.node, this.#cursor + 1, asked)) {
          if (!this.#session.live) return;
          got++;
          this.#take(item);
          if (this.#room() <= 0) break;
        }
        if (got < asked && this.#announced <= this.#cursor) this.#behind = false;
        if (got === 0) break;
      } while (this.#behind);
    } finally {
      this.#fetching = false;
      this.#services.serveSoon(this);
    }
    if (this.#behind && this.#announced > this.#cursor && this.#room() > 0)
      this.#services.clock.setTimeout(() => this.check(), RECHECK_MS);
  }

  /**
   * Hands to the session what its window allows. @returns true when its turn was used up and more could go
   */
  serve(): boolean {
    const attachment = this.#session;
    for (let started = 0; started < TURN; started++) {
      if (!attachment.live || (attachment.underWay?.size ?? 0) >= attachment.consumer.window) return false;
      const slot = this.#backlog?.take(attachment);
      if (!slot) return false;
      if (slot.expiresAt <= this.#services.clock.monotonic()) this.#settle(slot, { kind: 'expired' });
      else void this.#deliver(slot);
    }
    return true;
  }

  /** Settles what waits past its time. */
  expire(now: number): void {
    for (const slot of this.#backlog?.slots() ?? [])
      if (!slot.owner && slot.expiresAt <= now) this.#settle(slot, { kind: 'expired' });
  }

  /** Lets go: everything not settled stays in the stream. */
  close(): void {
    this.#session.live = false;
    this.unsubscribe();
    this.#backlog = undefined;
  }

  /** After {@link close}: the stream is gone, and what is under way has no place in it. */
  forget(): void {
    this.#forgotten = true;
  }

  /**
   * A question to the stream costs much more than a message of its answer, so it waits until half of the room
   * is free. The window of the session is no larger than the other half: the edge does not run dry meanwhile.
   */
  #isWorthFetching(): boolean {
    return this.#room() >= this.#limit() / 2;
  }

  #room(): number {
    const held = this.#backlog;
    if (!held) return this.#limit();
    return held.bytes >= HELD_BYTES ? 0 : this.#limit() - held.messages;
  }

  #limit(): number {
    return Math.max(MIN_HELD, 2 * this.#session.consumer.window);
  }

  #take({ seq, data, headers }: StoredItem): void {
    this.#cursor = Math.max(this.#cursor, seq);
    if (this.#services.isSettled(seq)) return;
    const outcomeTo = headers?.get(HEADER.outcomeTo) || undefined;
    const settledAs = (messageId: string | undefined, outcome: DeliveryOutcome) =>
      this.#services.settled(
        { node: this.node, seq: this.#forgotten ? undefined : seq, messageId, outcomeTo },
        outcome,
      );
    let item: ReturnType<typeof decodeItem>;
    try {
      item = decodeItem(this.node, { data, headers }, this.#services.isAcknowledged);
    } catch (error) {
      if (!isSallyportError(error, 'MESSAGE_INVALID')) throw error;
      this.#services.log.warn(
        { node: this.node, problem: describeError(error) },
        'dropped a message that is none: somebody put it into the stream',
      );
      settledAs(undefined, { kind: 'dropped', reason: 'message-invalid' });
      return;
    }
    const settle = (outcome: DeliveryOutcome) => settledAs(item.message.header.msg_id, outcome);
    const key = objectKey(item);
    this.#backlog ??= new NodeBacklog(this.node);
    const newest = this.#backlog.newestFor(key);
    if (newest && isOlderVersion(item, newest.item)) {
      settle({ kind: 'superseded' });
      return;
    }
    const slot: Slot = {
      item,
      key,
      bytes: item.message.heldBytes,
      expiresAt:
        item.expiresAt === undefined
          ? Number.POSITIVE_INFINITY
          : monotonicAt(this.#services.clock, item.expiresAt),
      settle,
    };
    const older = this.#backlog.waitingFor(key);
    if (older) {
      this.#backlog.replace(older, slot);
      older.settle({ kind: 'superseded' });
    } else {
      this.#backlog.append(slot);
    }
  }

  async #deliver(slot: Slot): Promise<void> {
    const attachment = this.#session;
    let outcome: DeliveryOutcome | 'disconnected' = 'disconnected';
    try {
      outcome = await attachment.consumer.deliver(slot.item);
    } catch (error) {
      this.#services.log.error(
        { node: this.node, problem: describeError(error) },
        'a session failed to deliver; its messages wait for the next one',
      );
    }
    if (outcome !== 'disconnected') {
      this.#settle(slot, outcome);
      this.#services.serveSoon(this);
    } else {
      attachment.live = false;
    }
  }

  /** Also of a session that is gone: what the edge did acknowledge is settled. */
  #settle(slot: Slot, outcome: DeliveryOutcome): void {
    if (slot.done) return;
    slot.done = true;
    this.#backlog?.remove(slot);
    slot.settle(outcome);
    if (this.#backlog?.messages === 0) this.#backlog = undefined;
    if (this.#behind) this.check();
  }
}

/** Until a message that was announced is looked for again, milliseconds. */
const RECHECK_MS = 100;
