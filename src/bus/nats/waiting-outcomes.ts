import type { DeliveryOutcome, DownstreamItem } from '../../contracts/message-bus.ts';
import type { Clock } from '../../core/clock.ts';
import type { Metrics } from '../../core/metrics.ts';
import { objectKey } from '../object-key.ts';

/** A message this replica put into the stream, and whose fate is not known yet. */
export interface WaitingOutcome {
  readonly id: string;
  readonly item: DownstreamItem;
  readonly outcome: Promise<DeliveryOutcome>;
  /** Milliseconds on the monotonic clock; then it is taken for expired. */
  readonly until: number;
  /** Known once it is stored. */
  seq: number | undefined;
}

interface Entry extends WaitingOutcome {
  readonly key: string | undefined;
  readonly settle: (outcome: DeliveryOutcome) => void;
}

/**
 * Senders of this replica that wait to hear what became of their messages. Bounded: beyond the limit the
 * oldest stops waiting, told `dropped` with the reason `outcome-unknown`, while its message goes on. What
 * nobody tells is settled by time.
 */
export class WaitingOutcomes {
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #limit: number;
  readonly #entries = new Map<string, Entry>();
  /** Newest entry about an object of a node. */
  readonly #newest = new Map<string, Entry>();
  #nextId = 0;

  constructor({ clock, metrics }: { clock: Clock; metrics: Metrics }, { limit }: { limit: number }) {
    this.#clock = clock;
    this.#metrics = metrics;
    this.#limit = limit;
  }

  open(item: DownstreamItem, until: number): WaitingOutcome {
    if (this.#entries.size >= this.#limit)
      this.settle(this.#entries.keys().next().value!, { kind: 'dropped', reason: 'outcome-unknown' });
    const { promise: outcome, resolve: settle } = Promise.withResolvers<DeliveryOutcome>();
    const key = keyOf(item);
    const entry = { id: (this.#nextId++).toString(36), item, outcome, until, key, settle, seq: undefined };
    this.#entries.set(entry.id, entry);
    if (key !== undefined) this.#newest.set(key, entry);
    this.#show();
    return entry;
  }

  /** The newest message about the same object of the node whose fate is open. */
  newestFor(item: DownstreamItem): WaitingOutcome | undefined {
    const key = keyOf(item);
    return key === undefined ? undefined : this.#newest.get(key);
  }

  /** @returns false when nobody waits for it */
  settle(id: string, outcome: DeliveryOutcome): boolean {
    const entry = this.#entries.get(id);
    if (!entry) return false;
    this.#entries.delete(id);
    if (entry.key !== undefined && this.#newest.get(entry.key) === entry) this.#newest.delete(entry.key);
    this.#show();
    entry.settle(outcome);
    return true;
  }

  /** The stream is another one. */
  forgetSequences(): void {
    for (const entry of this.#entries.values()) entry.seq = undefined;
  }

  /** Settles what is past its time. */
  expire(): void {
    const now = this.#clock.monotonic();
    for (const { id, until } of [...this.#entries.values()])
      if (until <= now) this.settle(id, { kind: 'expired' });
  }

  /** The messages go on; only nobody here will hear of them. */
  stop(): void {
    for (const id of [...this.#entries.keys()])
      this.settle(id, { kind: 'dropped', reason: 'outcome-unknown' });
  }

  #show(): void {
    this.#metrics.busOutcomesWaiting.set(this.#entries.size);
  }
}

function keyOf(item: DownstreamItem): string | undefined {
  const key = objectKey(item);
  return key === undefined ? undefined : `${item.node}\n${key}`;
}
