import type {
  StoredEvent,
  SubscribeOptions,
  UpstreamEvent,
  UpstreamFilter,
} from '../contracts/message-bus.ts';
import { describeError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';

interface Follower extends Pick<SubscribeOptions, 'onMissed'> {
  readonly filter: UpstreamFilter;
  readonly onEvent: (event: StoredEvent) => unknown;
}

/** The programs that follow upstream events. One that throws is let go and never disturbs the others. */
export class Followers {
  /** Copied on every change, so that a follower may come or go while an event is handed round. */
  #followers: readonly Follower[] = [];
  readonly #log: Logger;
  readonly #metrics: Metrics;

  readonly #onLeave: () => void;

  /** @param onLeave called for each follower that goes, or is let go */
  constructor({ log, metrics }: { log: Logger; metrics: Metrics }, onLeave: () => void = () => {}) {
    this.#log = log;
    this.#metrics = metrics;
    this.#onLeave = onLeave;
  }

  /** @param kept what the follower gets first */
  add(follower: Follower, kept: readonly StoredEvent[] = []): Unsubscribe {
    this.#followers = [...this.#followers, follower];
    this.#metrics.subscribers.inc();
    for (const event of kept) {
      if (!this.#followers.includes(follower)) break;
      this.#hand(follower, event);
    }
    return () => this.#remove(follower);
  }

  tell(id: number, event: UpstreamEvent): void {
    if (this.#followers.length === 0) return;
    const stored = { id: String(id), event };
    for (const follower of this.#followers) this.#hand(follower, stored);
  }

  /** Events before the next one are gone. @param count undefined where nobody knows how many */
  tellMissed(count: number | undefined): void {
    for (const follower of this.#followers) this.#call(follower, () => follower.onMissed?.(count));
  }

  clear(): void {
    for (const follower of this.#followers) this.#remove(follower);
  }

  #hand(follower: Follower, event: StoredEvent): void {
    if (matches(follower.filter, event.event)) this.#call(follower, () => follower.onEvent(event));
  }

  #call(follower: Follower, call: () => unknown): void {
    try {
      const result = call();
      if (result instanceof Promise) result.catch((error) => this.#failed(follower, error));
    } catch (error) {
      this.#failed(follower, error);
    }
  }

  #failed(follower: Follower, error: unknown): void {
    this.#remove(follower);
    this.#log.warn({ problem: describeError(error) }, 'a follower of upstream events failed and was let go');
  }

  #remove(follower: Follower): void {
    if (!this.#followers.includes(follower)) return;
    this.#followers = this.#followers.filter((other) => other !== follower);
    this.#metrics.subscribers.dec();
    this.#onLeave();
  }
}

/** Whether an event passes a filter. A filter on parts of a message lets only messages pass. */
export function matches(filter: UpstreamFilter, event: UpstreamEvent): boolean {
  if (filter.node !== undefined && filter.node !== event.node) return false;
  if (filter.types && !filter.types.includes(event.type)) return false;
  const { group, source, operation, resourcePrefix } = filter;
  if (
    group === undefined &&
    source === undefined &&
    operation === undefined &&
    resourcePrefix === undefined
  ) {
    return true;
  }
  if (event.type !== 'message') return false;
  const { route } = event.message;
  return (
    (group === undefined || group === (route.group ?? '')) &&
    (source === undefined || source === (route.source ?? '')) &&
    (operation === undefined || operation === (route.operation ?? '')) &&
    (resourcePrefix === undefined || (route.resource ?? '').startsWith(resourcePrefix))
  );
}
