import { type NatsConnection as Connection, errors, type Msg } from '@nats-io/transport-node';
import type { Config } from '../../config/schema.ts';
import type {
  DeliveryOutcome,
  DownstreamConsumer,
  DownstreamItem,
  Enqueued,
  EventFilter,
  HeardEvent,
  MessageBus,
  SentMessage,
  SubscribeOptions,
  Subscription,
  UpstreamEvent,
} from '../../contracts/message-bus.ts';
import { type Clock, monotonicAt } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { NatsConnection } from '../../nats/nats-connection.ts';
import { exactJson } from '../../protocol/content.ts';
import type { Message } from '../../protocol/message.ts';
import { watches } from '../followers.ts';
import { isOlderVersion } from '../object-key.ts';
import { DownstreamView } from './downstream-view.ts';
import { EventFeed } from './event-feed.ts';
import { MessageDeleter } from './message-deleter.ts';
import { MessageRemover } from './message-remover.ts';
import { decodeOutcome, encodeEvent, encodeItem, HEADER } from './nats-messages.ts';
import { NodeHoldings } from './node-holdings.ts';
import { QueueCompactor } from './queue-compactor.ts';
import { StreamKeeper } from './stream-keeper.ts';
import { type PubAck, StreamPublisher } from './stream-publisher.ts';
import { StreamReader } from './stream-reader.ts';
import { Subjects } from './subjects.ts';
import { type WaitingOutcome, WaitingOutcomes } from './waiting-outcomes.ts';

export type NatsBusOptions = Config['bus']['nats'];

export interface NatsBusParts {
  readonly connection: NatsConnection;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /**
   * Whether the edge is expected to acknowledge a message that somebody put into the stream without saying
   * so.
   */
  readonly isAcknowledged: (message: Message) => boolean;
}

/** Period of looking for what is past its time, milliseconds. */
const EXPIRE_MS = 5_000;
/** How long after its end a message may still be told of, milliseconds. */
const OUTCOME_GRACE_MS = 5_000;

/**
 * The bus of any number of replicas: JetStream takes every message before its sender hears so, and keeps it
 * until its fate is known. Which replica holds a node is decided elsewhere; here whoever attaches gets what
 * waits and what follows. See docs/decisions and docs/protocol.md.
 */
export class NatsBus implements MessageBus {
  readonly name = 'nats';
  readonly #parts: NatsBusParts;
  readonly #options: NatsBusOptions;
  readonly #subjects: Subjects;
  readonly #reader: StreamReader;
  readonly #publisher: StreamPublisher;
  readonly #keeper: StreamKeeper;
  readonly #deleter: MessageDeleter;
  readonly #remover: MessageRemover;
  readonly #compactor: QueueCompactor;
  readonly #outcomes: WaitingOutcomes;
  readonly #holdings: NodeHoldings;
  readonly #feeds = new Set<EventFeed>();
  readonly #view: DownstreamView;
  readonly #off: Unsubscribe[] = [];
  /** Tells this process from others, and from its earlier life. */
  readonly #instance = crypto.randomUUID().slice(0, 13);
  #live: EventFeed | undefined;
  #stopped = false;

  constructor(parts: NatsBusParts, options: NatsBusOptions) {
    const { connection, clock, metrics } = parts;
    this.#parts = parts;
    this.#options = options;
    this.#subjects = new Subjects(options.prefix);
    const subjects = this.#subjects;
    const { downStream: stream } = subjects;
    this.#reader = new StreamReader(parts, options);
    const reader = this.#reader;
    this.#publisher = new StreamPublisher({ ...parts, onRefused: () => this.#keeper.suspect() }, options);
    this.#deleter = new MessageDeleter(parts, { ...options, stream });
    const deleter = this.#deleter;
    this.#remover = new MessageRemover({ deleter, clock });
    const remover = this.#remover;
    this.#compactor = new QueueCompactor(
      { reader, deleter, remover, clock, tell: (to, what) => this.#tell(to, what) },
      { subjects },
    );
    this.#outcomes = new WaitingOutcomes({ clock, metrics }, { limit: options.limits.outcomes });
    this.#holdings = new NodeHoldings(
      { ...parts, reader, remover, settled: (message, outcome) => this.#tell(message, outcome) },
      { subjects },
    );
    this.#keeper = new StreamKeeper({ ...parts, reader }, { ...options, subjects });
    this.#view = new DownstreamView({
      ...parts,
      subjects,
      instance: this.#instance,
      watched: () => [...this.#feeds].flatMap((feed) => feed.watched),
      show: (event) => {
        for (const feed of this.#feeds) feed.show(event);
      },
      missed: () => {
        for (const feed of this.#feeds) feed.missedDownstream();
      },
    });
    this.#off.push(
      connection.onUp((nats, fresh) => {
        if (fresh) this.#listen(nats);
      }),
      () => this.#view.stop(),
      this.#keeper.onSweep((range) => this.#holdings.sweep(range)),
      this.#keeper.onReplaced((stream) => this.#beginAnew(stream)),
    );
  }

  /** Waits a little for NATS and goes on without it. @throws BUS_SETTINGS_DIFFER */
  async start(signal: AbortSignal): Promise<void> {
    const expiry = this.#parts.clock.setInterval(() => {
      this.#outcomes.expire();
      this.#holdings.expire();
    }, EXPIRE_MS);
    this.#off.push(() => expiry.cancel());
    await this.#keeper.start(signal);
  }

  /** What waits, waits in NATS; what was settled is taken out first. */
  async stop(signal: AbortSignal): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#holdings.stop();
    this.#parts.connection.flush();
    await this.#publisher.stop(signal);
    if (this.#parts.connection.problem() === undefined) await this.#remover.stop(signal);
    this.#deleter.stop();
    await this.#keeper.stop();
    for (const off of this.#off) off();
    this.#outcomes.stop();
    await Promise.all([...this.#feeds].map((feed) => feed.stop()));
  }

  problem(): string | undefined {
    if (this.#stopped) return 'the bus is stopped';
    return this.#parts.connection.problem() ?? this.#keeper.problem() ?? this.#publisher.problem();
  }

  /** Sequences of a stream that is gone mean nothing in the one that took its place. */
  #beginAnew(stream: 'up' | 'down'): void {
    if (stream === 'up') {
      for (const feed of this.#feeds) feed.beginAnew();
      return;
    }
    this.#remover.forget();
    this.#outcomes.forgetSequences();
    this.#holdings.beginAnew();
  }

  // — upstream —

  async publish(event: UpstreamEvent): Promise<void> {
    if (this.#stopped) throw this.#unavailable();
    const ack = await this.#publisher.publish({
      ...encodeEvent(this.#subjects, event),
      stream: 'up',
      patienceMs: this.#options.holdMs,
    });
    this.#keeper.sawUpstream(ack.seq);
  }

  subscribe(
    filter: EventFilter,
    onEvent: (event: HeardEvent) => void,
    { afterId, onMissed }: SubscribeOptions = {},
  ): Subscription {
    if (this.#stopped) return { position: () => undefined, end: () => {} };
    const feed = afterId === undefined ? this.#liveFeed() : this.#feed(() => seqAfter(afterId));
    const leave = feed.add({ filter, onEvent, ...(onMissed ? { onMissed } : {}) });
    if (watches(filter)) {
      if (afterId !== undefined) onMissed?.({ direction: 'downstream' });
      this.#view.changed();
    }
    const end = () => {
      leave();
      if (watches(filter)) this.#view.changed();
      if (!feed.idle) return;
      this.#feeds.delete(feed);
      if (this.#live === feed) this.#live = undefined;
      void feed.stop();
    };
    return { position: () => feed.position, end };
  }

  #liveFeed(): EventFeed {
    // Begins at what this replica knows to be stored: what another one stored in the last seconds may come as
    // well.
    if (this.#live && !this.#live.idle) return this.#live;
    const known = this.#keeper.lastUpstream;
    this.#live = this.#feed(() => {
      const last = known ?? this.#keeper.firstUpstream;
      return last === undefined ? undefined : last + 1;
    });
    return this.#live;
  }

  #feed(begin: () => number | undefined): EventFeed {
    for (const feed of this.#feeds) {
      if (!feed.idle) continue;
      this.#feeds.delete(feed);
      void feed.stop();
    }
    const feed = new EventFeed({ ...this.#parts, subjects: this.#subjects }, begin);
    this.#feeds.add(feed);
    return feed;
  }

  // — downstream —

  isWatched(node: string): boolean {
    return this.#view.isWatched(node);
  }

  show(sent: SentMessage): void {
    this.#view.publish(sent);
  }

  async enqueue(item: DownstreamItem): Promise<Enqueued> {
    const admitted = this.#admit(item);
    if ('kind' in admitted) return { outcome: Promise.resolve(admitted) };
    const { older, until } = admitted;
    const waiting = this.#outcomes.open(item, until + OUTCOME_GRACE_MS);
    try {
      const { seq, duplicate } = await this.#store(item, this.#subjects.outcome(this.#instance, waiting.id));
      waiting.seq = seq;
      if (duplicate) this.#outcomes.settle(waiting.id, this.#lost({ kind: 'dropped', reason: 'duplicate' }));
      else await this.#replace(older, item.node);
    } catch (error) {
      this.#outcomes.settle(waiting.id, { kind: 'dropped', reason: 'not-taken' });
      throw error;
    }
    return { outcome: waiting.outcome };
  }

  /**
   * Nothing is remembered: an older version is found by whoever holds the node, or when its queue is full.
   */
  async post(item: DownstreamItem): Promise<void> {
    const admitted = this.#admit(item);
    if ('kind' in admitted) return;
    const { duplicate } = await this.#store(item);
    if (duplicate) this.#lost({ kind: 'dropped', reason: 'duplicate' });
    else await this.#replace(admitted.older, item.node);
  }

  /**
   * @returns what becomes of it at once, or what it replaces, and until when it may wait @throws
   * BUS_UNAVAILABLE
   */
  #admit(
    item: DownstreamItem,
  ): DeliveryOutcome | { readonly until: number; readonly older: WaitingOutcome | undefined } {
    if (this.#stopped) throw this.#unavailable();
    const { clock, connection } = this.#parts;
    const problem = connection.problem();
    if (problem !== undefined) throw new SallyportError('BUS_UNAVAILABLE', { problem });
    const now = clock.monotonic();
    const until = Math.min(
      item.expiresAt === undefined ? Number.POSITIVE_INFINITY : monotonicAt(clock, item.expiresAt),
      now + this.#options.limits.downstreamAgeMs,
    );
    if (until <= now) return this.#lost({ kind: 'expired' });
    const older = this.#outcomes.newestFor(item);
    if (older && isOlderVersion(item, older.item)) return this.#lost({ kind: 'superseded' });
    return { until, older };
  }

  attach(node: string, consumer: DownstreamConsumer): Unsubscribe {
    return this.#holdings.attach(node, consumer);
  }

  backlog(node: string): { readonly messages: number; readonly bytes: number } {
    return this.#holdings.waiting(node);
  }

  /** When the node's queue is full, makes room by removing versions that newer ones replaced. */
  async #store(item: DownstreamItem, outcomeTo?: string): Promise<PubAck> {
    const publication = {
      ...encodeItem(this.#subjects, item, outcomeTo === undefined ? {} : { outcomeTo }),
      stream: 'down',
      patienceMs: this.#options.requestTimeoutMs,
    };
    const publish = () => this.#publisher.publish(publication);
    try {
      return await publish().catch(async (error: unknown) => {
        if (!isSallyportError(error, 'QUEUE_FULL') || this.#remover.size === 0) throw error;
        // Of what was delivered a moment ago.
        await this.#remover.finish();
        return publish();
      });
    } catch (error) {
      if (!isSallyportError(error, 'QUEUE_FULL')) throw error;
      return this.#compactor.makeRoom(item, publish).catch((last) => {
        if (isSallyportError(last, 'QUEUE_FULL')) this.#lost({ kind: 'dropped', reason: 'queue-full' });
        throw last;
      });
    }
  }

  /**
   * A version this replica stored earlier, and heard nothing of, is taken out, unless somebody holds the
   * node: the holder knows whether it is under way, and sees the newer one itself.
   */
  async #replace(older: WaitingOutcome | undefined, node: string): Promise<void> {
    if (older?.seq === undefined) return;
    const { id, seq } = older;
    if (this.#holdings.holds(node) || (await this.#isHeldElsewhere(node))) return;
    if (this.#outcomes.settle(id, this.#lost({ kind: 'superseded' }))) this.#remover.remove(seq);
  }

  async #isHeldElsewhere(node: string): Promise<boolean> {
    try {
      await this.#parts.connection
        .current()
        .request(this.#subjects.live(node), HEADER.ask, { timeout: this.#options.requestTimeoutMs });
      return true;
    } catch (error) {
      // Nobody listens on the subject: nobody holds the node. Without an answer nothing is taken out.
      return !(error instanceof errors.RequestError && error.isNoResponders());
    }
  }

  // — outcomes —

  #listen(nats: Connection): void {
    nats.subscribe(this.#subjects.outcome(this.#instance, '*'), {
      callback: (error, message) => {
        if (!error) this.#hear(message);
      },
    });
  }

  #hear(message: Msg): void {
    const id = message.subject.slice(message.subject.lastIndexOf('.') + 1);
    try {
      this.#outcomes.settle(id, decodeOutcome(message.data));
    } catch (error) {
      this.#parts.log.debug({ problem: describeError(error) }, 'an outcome could not be read');
    }
  }

  #tell(
    {
      node,
      messageId,
      outcomeTo,
    }: { node: string; messageId?: string | undefined; outcomeTo: string | undefined },
    outcome: DeliveryOutcome,
  ): void {
    this.#lost(outcome);
    if (outcomeTo === undefined) return;
    const own = this.#subjects.outcome(this.#instance, '');
    if (outcomeTo.startsWith(own)) {
      this.#outcomes.settle(outcomeTo.slice(own.length), outcome);
      return;
    }
    if (!this.#subjects.mayReceiveOutcomes(outcomeTo)) return;
    const what = { node, msg_id: messageId, outcome };
    this.#parts.connection.atTurnEnd(() => this.#sendOutcome(outcomeTo, what));
  }

  #sendOutcome(to: string, what: object): void {
    try {
      this.#parts.connection.current().publish(to, exactJson(what));
    } catch {
      // Whoever waits settles by time.
      this.#parts.metrics.busPublishFailed.inc({ stream: 'outcome', reason: 'unavailable' });
    }
  }

  /** Counts what is not delivered, with its reason (J5). */
  #lost(outcome: DeliveryOutcome): DeliveryOutcome {
    if (outcome.kind !== 'acknowledged' && outcome.kind !== 'sent' && outcome.kind !== 'rejected') {
      const reason = outcome.kind === 'dropped' ? outcome.reason : outcome.kind;
      this.#parts.metrics.messagesDropped.inc({ direction: 'downstream', reason });
    }
    return outcome;
  }

  #unavailable(): SallyportError {
    return new SallyportError('BUS_UNAVAILABLE', { problem: 'it is stopped' });
  }
}

/** Ids are sequences of the stream. What is none is beyond its end: of another bus. */
function seqAfter(id: string): number {
  return /^\d{1,15}$/.test(id) ? Number(id) + 1 : Number.POSITIVE_INFINITY;
}
