import type { Config } from '../../config/schema.ts';
import type {
  DeliveryOutcome,
  DownstreamConsumer,
  DownstreamItem,
  Enqueued,
  MessageBus,
  StoredEvent,
  SubscribeOptions,
  Subscription,
  UpstreamEvent,
  UpstreamFilter,
} from '../../contracts/message-bus.ts';
import { type Clock, monotonicAt, type Timer } from '../../core/clock.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import { Followers } from '../followers.ts';
import { type Attachment, NodeBacklog, type Slot } from '../node-backlog.ts';
import { isOlderVersion, objectKey } from '../object-key.ts';
import { EventBuffer } from './event-buffer.ts';
import { RecentIds } from './recent-ids.ts';

/** Period of the search for messages past their time, milliseconds. */
const SWEEP_MS = 1_000;
/**
 * Messages one node may start in one turn of the event loop, so that a long backlog does not delay the other
 * nodes (I10).
 */
const TURN = 32;
const NOTHING_BEFORE = { lost: 0, kept: [] } as const;

export type LocalBusOptions = Config['hub']['queue'];

/**
 * The bus of a hub that runs alone: everything in memory of this process, everything bounded. A full queue of
 * one node refuses (QUEUE_FULL); when all queues together are full, the node that has been away longest loses
 * its oldest message first, because those that are here must go on (I13). Every loss is counted with its
 * reason (J5).
 */
export class LocalBus implements MessageBus {
  readonly name = 'local';
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #options: () => LocalBusOptions;
  readonly #followers: Followers;
  readonly #events: EventBuffer;
  readonly #recent: RecentIds;
  readonly #backlogs = new Map<string, NodeBacklog>();
  /** Backlogs without a session, longest away first. */
  readonly #away = new Set<NodeBacklog>();
  /** Backlogs to serve in the next turn. */
  #ready = new Set<NodeBacklog>();
  #messages = 0;
  #bytes = 0;
  /** No message ends before this, milliseconds since the epoch. */
  #earliestExpiry = Number.POSITIVE_INFINITY;
  #sweep: Timer | undefined;
  #stopped = false;
  #totalsDue = false;

  constructor(
    { clock, log, metrics }: { clock: Clock; log: Logger; metrics: Metrics },
    options: () => LocalBusOptions,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
    this.#options = options;
    this.#followers = new Followers({ log, metrics });
    this.#recent = new RecentIds({ clock });
    this.#events = new EventBuffer(clock.now() * 1_000, options);
  }

  async start(): Promise<void> {
    this.#log.info({ bus: this.name }, 'messages stay in this gateway');
    this.#sweep ??= this.#clock.setInterval(() => this.#expire(), SWEEP_MS);
  }

  /** What still waits is lost with the process: each is counted, and its sender told. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#sweep?.cancel();
    this.#followers.clear();
    const lost = this.#messages;
    for (const backlog of [...this.#backlogs.values()]) {
      for (const slot of backlog.slots())
        this.#settle(backlog, slot, { kind: 'dropped', reason: 'shutdown' });
    }
    if (lost > 0) this.#log.warn({ messages: lost }, 'messages that waited for nodes end with this process');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  problem(): string | undefined {
    return this.#stopped ? 'the bus is stopped' : undefined;
  }

  publish(event: UpstreamEvent): undefined | Promise<void> {
    if (this.#stopped) return Promise.reject(this.#unavailable());
    this.#followers.tell(this.#events.push(event), event);
    return undefined;
  }

  subscribe(
    filter: UpstreamFilter,
    onEvent: (event: StoredEvent) => void,
    { afterId, onMissed }: SubscribeOptions = {},
  ): Subscription {
    const { lost, kept } = afterId === undefined ? NOTHING_BEFORE : this.#events.after(afterId);
    if (lost !== 0) onMissed?.(lost);
    const end = this.#followers.add({ filter, onEvent }, kept);
    return { position: () => this.#events.lastId, end };
  }

  async enqueue(item: DownstreamItem): Promise<Enqueued> {
    if (this.#stopped) throw this.#unavailable();
    const now = this.#clock.monotonic();
    const bytes = item.message.heldBytes;
    const until =
      item.expiresAt === undefined ? Number.POSITIVE_INFINITY : monotonicAt(this.#clock, item.expiresAt);
    const expiresAt = Math.min(until, now + this.#options().ttlMs);
    if (expiresAt <= now) return this.#atOnce({ kind: 'expired' });
    const id = `${item.node}:${item.message.header.msg_id}`;
    if (this.#recent.has(id)) return this.#atOnce({ kind: 'dropped', reason: 'duplicate' });
    const key = objectKey(item);
    const newest = this.#backlogs.get(item.node)?.newestFor(key);
    if (newest && isOlderVersion(item, newest.item)) return this.#atOnce({ kind: 'superseded' });
    this.#makeRoom(item.node, key, bytes);
    this.#recent.add(id);

    const { promise: outcome, resolve: settle } = Promise.withResolvers<DeliveryOutcome>();
    const slot: Slot = { item, key, bytes, expiresAt, settle };
    const backlog = this.#backlogOf(item.node);
    const older = backlog.waitingFor(key);
    this.#messages++;
    this.#bytes += bytes;
    if (older) {
      backlog.replace(older, slot);
      this.#account(older, { kind: 'superseded' });
    } else {
      backlog.append(slot);
    }
    this.#earliestExpiry = Math.min(this.#earliestExpiry, expiresAt);
    this.#showTotals();
    this.#serveSoon(backlog);
    return { outcome };
  }

  async post(item: DownstreamItem): Promise<void> {
    await this.enqueue(item);
  }

  attach(node: string, consumer: DownstreamConsumer): Unsubscribe {
    const backlog = this.#backlogOf(node);
    this.#detach(backlog);
    const attachment: Attachment = { consumer, live: true };
    backlog.attachment = attachment;
    this.#away.delete(backlog);
    this.#serveSoon(backlog);
    return () => {
      if (backlog.attachment !== attachment) return;
      this.#detach(backlog);
      this.#away.add(backlog);
      this.#forgetIfEmpty(backlog);
    };
  }

  backlog(node: string): { readonly messages: number; readonly bytes: number } {
    const backlog = this.#backlogs.get(node);
    return { messages: backlog?.waitingMessages ?? 0, bytes: backlog?.waitingBytes ?? 0 };
  }

  /** @throws QUEUE_FULL */
  #makeRoom(node: string, key: string | undefined, bytes: number): void {
    const limits = this.#options();
    const grows = () => {
      const older = this.#backlogs.get(node)?.waitingFor(key);
      return { messages: older ? 0 : 1, bytes: bytes - (older?.bytes ?? 0) };
    };
    const own = this.#backlogs.get(node);
    const more = grows();
    if (
      (own?.messages ?? 0) + more.messages > limits.messagesPerNode ||
      (own?.bytes ?? 0) + more.bytes > limits.bytesPerNode
    ) {
      throw this.#full('node-limit', `of node ${node}`);
    }
    if (bytes > limits.bytes) throw this.#full('hub-limit', 'of all nodes');
    for (;;) {
      const { messages: moreMessages, bytes: moreBytes } = grows();
      if (this.#messages + moreMessages <= limits.messages && this.#bytes + moreBytes <= limits.bytes) return;
      const victim = this.#away.values().next().value;
      const slot = victim?.oldestWaiting();
      if (!victim || !slot) throw this.#full('hub-limit', 'of all nodes');
      this.#settle(victim, slot, { kind: 'dropped', reason: 'hub-limit' });
    }
  }

  #serveSoon(backlog: NodeBacklog): void {
    if (!backlog.attachment || backlog.waitingMessages === 0) return;
    if (this.#ready.size === 0) setImmediate(() => this.#serveAll());
    this.#ready.add(backlog);
  }

  #serveAll(): void {
    const ready = this.#ready;
    this.#ready = new Set();
    for (const backlog of ready) if (this.#serve(backlog)) this.#serveSoon(backlog);
  }

  /** @returns true when its turn was used up and more could go */
  #serve(backlog: NodeBacklog): boolean {
    const { attachment } = backlog;
    for (let started = 0; started < TURN; started++) {
      if (!attachment?.live || (attachment.underWay?.size ?? 0) >= attachment.consumer.window) return false;
      const slot = backlog.take(attachment);
      if (!slot) return false;
      if (slot.expiresAt <= this.#clock.monotonic()) this.#settle(backlog, slot, { kind: 'expired' });
      else this.#deliver(backlog, attachment, slot);
    }
    return true;
  }

  async #deliver(backlog: NodeBacklog, attachment: Attachment, slot: Slot): Promise<void> {
    let outcome: DeliveryOutcome | 'disconnected' = 'disconnected';
    try {
      outcome = await attachment.consumer.deliver(slot.item);
    } catch (error) {
      this.#log.error(
        { node: backlog.node, problem: describeError(error) },
        'a session failed to deliver; its messages wait for the next one',
      );
    }
    if (outcome === 'disconnected') {
      attachment.live = false;
      if (slot.owner === attachment && !slot.done) this.#putBack(backlog, slot);
    } else if (!slot.done) {
      this.#settle(backlog, slot, outcome);
    }
    this.#serveSoon(backlog);
  }

  /**
   * Puts back at once what the session had under way, so that a session that follows gets it before anything
   * later.
   */
  #detach(backlog: NodeBacklog): void {
    const { attachment } = backlog;
    if (!attachment) return;
    attachment.live = false;
    backlog.attachment = undefined;
    for (const slot of [...(attachment.underWay ?? [])]) this.#putBack(backlog, slot);
  }

  #putBack(backlog: NodeBacklog, slot: Slot): void {
    if (!backlog.putBack(slot)) this.#settle(backlog, slot, { kind: 'superseded' });
  }

  #settle(backlog: NodeBacklog, slot: Slot, outcome: DeliveryOutcome): void {
    backlog.remove(slot);
    this.#account(slot, outcome);
    this.#showTotals();
    this.#forgetIfEmpty(backlog);
  }

  #account(slot: Slot, outcome: DeliveryOutcome): void {
    this.#messages--;
    this.#bytes -= slot.bytes;
    this.#countLoss(outcome);
    slot.settle(outcome);
  }

  #atOnce(outcome: DeliveryOutcome): Enqueued {
    this.#countLoss(outcome);
    return { outcome: Promise.resolve(outcome) };
  }

  #countLoss(outcome: DeliveryOutcome): void {
    if (outcome.kind === 'acknowledged' || outcome.kind === 'sent' || outcome.kind === 'rejected') return;
    const reason = outcome.kind === 'dropped' ? outcome.reason : outcome.kind;
    this.#metrics.messagesDropped.inc({ direction: 'downstream', reason });
  }

  #full(reason: string, queue: string): SallyportError {
    this.#metrics.messagesDropped.inc({ direction: 'downstream', reason });
    return new SallyportError('QUEUE_FULL', { queue });
  }

  #unavailable(): SallyportError {
    return new SallyportError('BUS_UNAVAILABLE', { problem: 'it is stopped' });
  }

  #expire(): void {
    const now = this.#clock.monotonic();
    if (now < this.#earliestExpiry) return;
    this.#earliestExpiry = Number.POSITIVE_INFINITY;
    for (const backlog of [...this.#backlogs.values()]) {
      for (const slot of backlog.slots()) {
        if (!slot.owner && slot.expiresAt <= now) this.#settle(backlog, slot, { kind: 'expired' });
        else this.#earliestExpiry = Math.min(this.#earliestExpiry, slot.expiresAt);
      }
    }
  }

  #backlogOf(node: string): NodeBacklog {
    let backlog = this.#backlogs.get(node);
    if (!backlog) {
      backlog = new NodeBacklog(node);
      this.#backlogs.set(node, backlog);
      this.#away.add(backlog);
    }
    return backlog;
  }

  #forgetIfEmpty(backlog: NodeBacklog): void {
    if (backlog.messages > 0 || backlog.attachment) return;
    this.#backlogs.delete(backlog.node);
    this.#away.delete(backlog);
  }

  /** Once a turn of the event loop: under load the gauges would cost as much as the queue. */
  #showTotals(): void {
    if (this.#totalsDue) return;
    this.#totalsDue = true;
    setImmediate(() => {
      this.#totalsDue = false;
      this.#metrics.queued.set(this.#messages);
      this.#metrics.queuedBytes.set(this.#bytes);
    });
  }
}
