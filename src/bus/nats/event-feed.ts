import { type Consumer, DeliverPolicy, jetstream } from '@nats-io/jetstream';
import type { MessageOf } from '../../contracts/message-bus.ts';
import { backoffDelayMs } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { NatsConnection } from '../../nats/nats-connection.ts';
import { Followers } from '../followers.ts';
import { decodeEvent } from './nats-messages.ts';
import type { Subjects } from './subjects.ts';

const RETRY = { minMs: 100, maxMs: 5_000 } as const;
/** Messages NATS may have under way to this feed. */
const PREFETCH = 256;
/**
 * How long one request for messages stands, milliseconds. The server gives a sign of life twice in it, and a
 * reader that misses two begins anew. With the library's 30 s, programs saw nothing for half a minute after
 * the stream's leader had died.
 */
const PULL_MS = 10_000;

interface FeedParts {
  readonly connection: NatsConnection;
  readonly subjects: Subjects;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/**
 * Reads the upstream stream from one sequence on, in order, without a gap over reconnects and restarts of
 * NATS, for as long as somebody follows. Costs nothing while nobody does.
 */
export class EventFeed {
  readonly #parts: FeedParts;
  readonly #followers: Followers;
  readonly #stopping = new AbortController();
  readonly #begin: () => number | undefined;
  #nextSeq: number | undefined;
  #count = 0;
  #running: Promise<void> | undefined;
  #stopReading: (() => void) | undefined;

  /**
   * @param begin the first sequence to hand on; undefined while it cannot be known, because NATS was not
   * there yet
   */
  constructor(parts: FeedParts, begin: () => number | undefined) {
    this.#parts = parts;
    this.#followers = new Followers(parts, () => this.#leave());
    this.#begin = begin;
    this.#nextSeq = begin();
    this.#running = this.#run();
  }

  /** Nobody follows any more. */
  get idle(): boolean {
    return this.#count === 0;
  }

  /** Sequence of the newest event that its followers were told; undefined while it cannot be known. */
  get position(): string | undefined {
    return Number.isSafeInteger(this.#nextSeq) ? String(this.#nextSeq! - 1) : undefined;
  }

  /** The nodes whose downstream messages its followers want; undefined among them stands for every node. */
  get watched(): readonly (string | undefined)[] {
    return this.#followers.watched;
  }

  show(event: MessageOf<'downstream'>): void {
    this.#followers.tell(undefined, event);
  }

  /** Of what went to nodes some may have gone by unseen. */
  missedDownstream(): void {
    this.#followers.tellMissed({ direction: 'downstream' });
  }

  add(follower: Parameters<Followers['add']>[0]): Unsubscribe {
    this.#count++;
    return this.#followers.add(follower);
  }

  /** The stream is another one: from its first event on. */
  beginAnew(): void {
    this.#nextSeq = 1;
    this.#followers.tellMissed({});
    this.#stopReading?.();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#stopReading?.();
    this.#followers.clear();
    await this.#running;
  }

  #leave(): void {
    this.#count--;
  }

  async #run(): Promise<void> {
    const { connection, clock, log } = this.#parts;
    const { signal } = this.#stopping;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await connection.whenUp(signal);
        const before = this.#nextSeq;
        await this.#read(await this.#open());
        if (this.#nextSeq !== before) attempt = 0;
      } catch (error) {
        if (signal.aborted) return;
        log.debug({ problem: describeError(error) }, 'the feed of upstream events begins again');
      }
      await clock.sleep(backoffDelayMs(attempt, RETRY), signal).catch(() => {});
    }
  }

  async #open(): Promise<Consumer> {
    const { connection, subjects } = this.#parts;
    const js = jetstream(connection.current());
    const { state } = await (await js.jetstreamManager()).streams.info(subjects.upStream);
    this.#nextSeq ??= this.#begin();
    if (this.#nextSeq === undefined)
      throw new SallyportError('BUS_UNAVAILABLE', { problem: 'the streams were not seen yet' });
    // A stream that was lost and made anew counts from one again.
    if (this.#nextSeq > state.last_seq + 1) {
      this.#nextSeq = Math.max(1, state.first_seq);
      this.#followers.tellMissed({});
    }
    this.#skipTo(state.first_seq);
    return js.consumers.get(subjects.upStream, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.#nextSeq,
    });
  }

  /** The stream keeps nothing before that sequence: its limits, or somebody's hand, have removed it. */
  #skipTo(seq: number): void {
    const lost = seq - (this.#nextSeq ?? seq);
    if (lost <= 0) return;
    this.#nextSeq = seq;
    this.#followers.tellMissed({ count: lost });
  }

  async #read(consumer: Consumer): Promise<void> {
    const { subjects, connection } = this.#parts;
    const messages = await consumer.consume({ max_messages: PREFETCH, expires: PULL_MS });
    // A reader that belongs to a connection that is gone would wait for it to come back; it begins anew
    // instead.
    const off = connection.onDown(() => messages.stop());
    this.#stopReading = () => messages.stop();
    try {
      if (this.#stopping.signal.aborted) return;
      for await (const message of messages) {
        if (message.seq < (this.#nextSeq ?? 0)) continue;
        this.#skipTo(message.seq);
        this.#nextSeq = message.seq + 1;
        const event = decodeEvent(subjects, message);
        if (event) this.#followers.tell(message.seq, event);
      }
    } finally {
      off();
      messages.stop();
      this.#stopReading = undefined;
    }
  }
}
