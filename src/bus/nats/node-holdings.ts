import type { Msg, Subscription } from '@nats-io/transport-node';
import type { DeliveryOutcome, DownstreamConsumer } from '../../contracts/message-bus.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { NatsConnection } from '../../nats/nats-connection.ts';
import type { Message } from '../../protocol/message.ts';
import type { MessageRemover } from './message-remover.ts';
import { type HoldingServices, NodeHolding, type SettledMessage, type StoredItem } from './node-holding.ts';
import type { StreamReader } from './stream-reader.ts';
import type { Subjects } from './subjects.ts';

/** Nodes whose messages are read from the stream at once. */
const PARALLEL_READS = 32;
const READ_RETRY_MS = 1_000;

export interface HoldingsParts {
  readonly connection: NatsConnection;
  readonly reader: StreamReader;
  readonly remover: MessageRemover;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly isAcknowledged: (message: Message) => boolean;
  readonly settled: (message: SettledMessage, outcome: DeliveryOutcome) => void;
}

/** The nodes this replica holds: hears what the stream takes for each, and reads what waited before. */
export class NodeHoldings {
  readonly #parts: HoldingsParts;
  readonly #subjects: Subjects;
  readonly #services: HoldingServices;
  readonly #holdings = new Map<string, NodeHolding>();
  readonly #sampler: LogSampler;
  readonly #off: Unsubscribe;
  /** To serve in the next turn. */
  #ready = new Set<NodeHolding>();
  /** To read from the stream, first come first served. */
  readonly #toFetch = new Set<NodeHolding>();
  #fetching = 0;
  #stopped = false;
  #totalsDue = false;

  constructor(parts: HoldingsParts, { subjects }: { subjects: Subjects }) {
    this.#parts = parts;
    this.#subjects = subjects;
    const { clock, log, isAcknowledged, remover } = parts;
    this.#sampler = new LogSampler({ clock });
    this.#services = {
      clock,
      log,
      isAcknowledged,
      read: (node, fromSeq, max) => this.#read(node, fromSeq, max),
      isSettled: (seq) => remover.has(seq),
      settled: (message, outcome) => {
        if (message.seq !== undefined) remover.remove(message.seq);
        parts.settled(message, outcome);
        this.#showTotals();
      },
      serveSoon: (holding) => this.#serveSoon(holding),
      fetchSoon: (holding) => this.#fetchSoon(holding),
    };
    this.#off = parts.connection.onUp((_, fresh) => {
      for (const holding of this.#holdings.values()) {
        if (fresh) this.#subscribe(holding);
        // After a reconnect of the same client the sweep finds what was missed, at a cost that does not grow
        // with the nodes held.
        if (fresh) holding.check();
      }
      this.#fetchMore();
    });
  }

  holds(node: string): boolean {
    return this.#holdings.has(node);
  }

  waiting(node: string): { readonly messages: number; readonly bytes: number } {
    return this.#holdings.get(node)?.waiting ?? { messages: 0, bytes: 0 };
  }

  attach(node: string, consumer: DownstreamConsumer): Unsubscribe {
    return this.#hold(node, { consumer, attachment: {} });
  }

  #hold(node: string, held: Pick<NodeHolding, 'consumer' | 'attachment'>): Unsubscribe {
    this.#drop(this.#holdings.get(node));
    if (this.#stopped) return () => {};
    const holding = new NodeHolding(this.#services, { ...held, node });
    this.#holdings.set(node, holding);
    // Listening comes before reading, on one connection: what comes between is announced.
    this.#subscribe(holding);
    holding.check();
    return () => {
      const present = this.#holdings.get(node);
      if (present?.attachment === held.attachment) this.#drop(present);
    };
  }

  /** Looks at what the stream took in that range, and has holdings read what they were not told of. */
  async sweep({ fromSeq, toSeq }: { fromSeq: number; toSeq: number }): Promise<void> {
    if (this.#holdings.size === 0) return;
    const { downStream: stream, prefix } = this.#subjects;
    const range = { stream, subject: `${prefix}.down.*`, fromSeq, headersOnly: true };
    for await (const { subject, seq } of this.#parts.reader.read(range)) {
      if (seq > toSeq) break;
      const node = this.#subjects.nodeOf(subject);
      if (node !== undefined && !this.#parts.remover.has(seq)) this.#holdings.get(node)?.missed(seq);
    }
  }

  /** The stream is another one: what is under way is not in it. */
  beginAnew(): void {
    for (const holding of [...this.#holdings.values()]) {
      this.#drop(holding);
      holding.forget();
      this.#hold(holding.node, { consumer: holding.consumer, attachment: holding.attachment });
    }
  }

  expire(): void {
    const now = this.#parts.clock.monotonic();
    for (const holding of this.#holdings.values()) holding.expire(now);
    this.#showTotals();
  }

  stop(): void {
    this.#stopped = true;
    this.#off();
    for (const holding of [...this.#holdings.values()]) this.#drop(holding);
  }

  #drop(holding: NodeHolding | undefined): void {
    if (!holding) return;
    holding.close();
    this.#parts.remover.flush();
    this.#toFetch.delete(holding);
    this.#ready.delete(holding);
    if (this.#holdings.get(holding.node) === holding) this.#holdings.delete(holding.node);
  }

  #subscribe(holding: NodeHolding): void {
    holding.unsubscribe();
    holding.unsubscribe = () => {};
    if (this.#parts.connection.problem() !== undefined) return;
    let subscription: Subscription;
    try {
      subscription = this.#parts.connection.current().subscribe(this.#subjects.live(holding.node), {
        callback: (error, message) => {
          if (!error) this.#announced(holding, message);
        },
      });
    } catch {
      // The connection is on its way out; the next one subscribes.
      return;
    }
    holding.unsubscribe = () => subscription.unsubscribe();
  }

  #announced(holding: NodeHolding, message: Msg): void {
    const { headers, data } = message;
    const seq = Number(headers?.get('Nats-Sequence') || 0);
    if (seq > 0) holding.offer({ seq, data, headers }, Number(headers?.get('Nats-Last-Sequence') || 0));
    // Somebody asks whether the node is held.
    else if (message.reply) message.respond();
  }

  async *#read(node: string, fromSeq: number, max: number): AsyncGenerator<StoredItem> {
    const { reader } = this.#parts;
    const range = { stream: this.#subjects.downStream, subject: this.#subjects.down(node), fromSeq };
    // Most nodes have nothing waiting: one question tells.
    const first = await reader.next(range);
    if (!first) return;
    yield { seq: first.seq, data: first.data, headers: first.header };
    if (max <= 1) return;
    for await (const { seq, data, headers } of reader.read({
      ...range,
      fromSeq: first.seq + 1,
      max: max - 1,
    }))
      yield { seq, data, headers };
  }

  // — turns —

  #serveSoon(holding: NodeHolding): void {
    if (this.#ready.size === 0) setImmediate(() => this.#serveAll());
    this.#ready.add(holding);
  }

  #serveAll(): void {
    const ready = this.#ready;
    this.#ready = new Set();
    for (const holding of ready) if (holding.serve()) this.#serveSoon(holding);
    this.#showTotals();
  }

  #fetchSoon(holding: NodeHolding): void {
    this.#toFetch.add(holding);
    this.#fetchMore();
  }

  #fetchMore(): void {
    for (const holding of this.#toFetch) {
      if (this.#fetching >= PARALLEL_READS || this.#parts.connection.problem() !== undefined) return;
      this.#toFetch.delete(holding);
      void this.#fetch(holding);
    }
  }

  async #fetch(holding: NodeHolding): Promise<void> {
    this.#fetching++;
    try {
      await holding.fetch();
    } catch (error) {
      const suppressed = this.#sampler.pass('fetch');
      if (suppressed !== undefined)
        this.#parts.log.warn(
          { node: holding.node, problem: describeError(error), suppressed },
          'what waits for a node cannot be read from NATS yet',
        );
      this.#parts.clock.setTimeout(() => holding.check(), READ_RETRY_MS);
    } finally {
      this.#fetching--;
      this.#fetchMore();
    }
  }

  /** Once a turn of the event loop. */
  #showTotals(): void {
    if (this.#totalsDue) return;
    this.#totalsDue = true;
    this.#parts.clock.setTimeout(() => {
      this.#totalsDue = false;
      let [messages, bytes] = [0, 0];
      for (const holding of this.#holdings.values()) {
        messages += holding.waiting.messages;
        bytes += holding.waiting.bytes;
      }
      this.#parts.metrics.queued.set(messages);
      this.#parts.metrics.queuedBytes.set(bytes);
    }, TOTALS_MS);
  }
}

/** Between two counts of what waits in memory, milliseconds: they walk over every node held. */
const TOTALS_MS = 1_000;
