import type {
  Direction,
  EventFilter,
  HeardEvent,
  HubEvent,
  Missed,
  SubscribeOptions,
} from '../contracts/message-bus.ts';
import { describeError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';

interface Follower extends Pick<SubscribeOptions, 'onMissed'> {
  readonly filter: EventFilter;
  readonly onEvent: (event: HeardEvent) => unknown;
}

/** The programs that follow events. One that throws is let go and never disturbs the others. */
export class Followers {
  /** Copied on every change, so that a follower may come or go while an event is handed round. */
  #followers: readonly Follower[] = [];
  #watched: readonly (string | undefined)[] = [];
  readonly #log: Logger;
  readonly #metrics: Metrics;

  readonly #onLeave: () => void;

  /** @param onLeave called for each follower that goes, or is let go */
  constructor({ log, metrics }: { log: Logger; metrics: Metrics }, onLeave: () => void = () => {}) {
    this.#log = log;
    this.#metrics = metrics;
    this.#onLeave = onLeave;
  }

  /** The nodes whose downstream messages somebody follows; undefined stands for every node. */
  get watched(): readonly (string | undefined)[] {
    return this.#watched;
  }

  /** @param kept what the follower gets first */
  add(follower: Follower, kept: readonly HeardEvent[] = []): Unsubscribe {
    this.#change([...this.#followers, follower]);
    this.#metrics.subscribers.inc();
    for (const event of kept) {
      if (!this.#followers.includes(follower)) break;
      this.#hand(follower, event);
    }
    return () => this.#remove(follower);
  }

  /** @param id undefined for what is not kept */
  tell(id: number | undefined, event: HubEvent): void {
    if (this.#followers.length === 0) return;
    const heard = { id: id === undefined ? undefined : String(id), event };
    for (const follower of this.#followers) this.#hand(follower, heard);
  }

  /** Events before the next one are gone. */
  tellMissed(missed: Missed): void {
    for (const follower of this.#followers)
      if (missed.direction === undefined || watches(follower.filter))
        this.#call(follower, () => follower.onMissed?.(missed));
  }

  clear(): void {
    for (const follower of this.#followers) this.#remove(follower);
  }

  #hand(follower: Follower, event: HeardEvent): void {
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
    this.#log.warn({ problem: describeError(error) }, 'a follower of events failed and was let go');
  }

  #remove(follower: Follower): void {
    if (!this.#followers.includes(follower)) return;
    this.#change(this.#followers.filter((other) => other !== follower));
    this.#metrics.subscribers.dec();
    this.#onLeave();
  }

  #change(followers: readonly Follower[]): void {
    this.#followers = followers;
    this.#watched = followers.flatMap(({ filter }) => (watches(filter) ? [filter.node] : []));
  }
}

/** Whether a filter lets messages pass that go to nodes. */
export function watches({ directions, types }: EventFilter): boolean {
  return (directions?.includes('downstream') ?? false) && (types?.includes('message') ?? true);
}

const UPSTREAM: readonly Direction[] = ['upstream'];

/** Whether an event passes a filter. A filter on parts of a message lets only messages pass. */
export function matches(filter: EventFilter, event: HubEvent): boolean {
  if (filter.node !== undefined && filter.node !== event.node) return false;
  if (filter.types && !filter.types.includes(event.type)) return false;
  if (event.type === 'message' && !(filter.directions ?? UPSTREAM).includes(event.direction)) return false;
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
