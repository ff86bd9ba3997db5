import type { Unsubscribe } from '../core/property.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { Message } from '../protocol/message.ts';

/**
 * The seam between the hub and cloud programs. Every implementation delivers in the same way. Downstream a
 * message is delivered at least once until the edge acknowledges, in order per node and object. The newest
 * version of an object replaces an older one that is still queued; this includes deletes. Queues are bounded
 * per node and in all, and messages have a time to live. Upstream a message is taken as soon as `publish`
 * says so.
 */
export interface MessageBus {
  readonly name: string;
  start(signal: AbortSignal): Promise<void>;
  stop(signal: AbortSignal): Promise<void>;
  /** Why the bus cannot take messages now; undefined when it can. */
  problem(): string | undefined;

  // — upstream: edge → cloud —
  /**
   * @returns undefined when the bus has taken the event already, else a promise that resolves when it has and
   * rejects with BUS_UNAVAILABLE or QUEUE_FULL
   */
  publish(event: UpstreamEvent): undefined | Promise<void>;
  /**
   * Follows upstream events. With `afterId`, the events after that id that are still in the bounded buffer
   * are delivered first; all of them when the id is none of this bus. A subscriber that throws is
   * unsubscribed and never disturbs the others.
   */
  subscribe(
    filter: UpstreamFilter,
    onEvent: (event: StoredEvent) => void,
    options?: SubscribeOptions,
  ): Subscription;

  // — downstream: cloud → edge —
  /**
   * Resolves when the message is queued for its node. It also resolves when a newer message that is queued
   * supersedes this one at once. @throws QUEUE_FULL, BUS_UNAVAILABLE
   */
  enqueue(item: DownstreamItem): Promise<Enqueued>;
  /**
   * As {@link enqueue}, for a sender who will not ask what became of the message. Its fate then costs this
   * replica no memory.
   */
  post(item: DownstreamItem): Promise<void>;
  /**
   * A session takes the backlog of its node and what follows, until it is detached. A node has at most one: a
   * later one replaces an earlier one.
   */
  attach(node: string, consumer: DownstreamConsumer): Unsubscribe;
  /** What waits for a node that is attached here, as far as this replica has it in memory. */
  backlog(node: string): { readonly messages: number; readonly bytes: number };
}

export type UpstreamEvent =
  | {
      readonly type: 'message';
      readonly node: string;
      readonly sessionId: string;
      readonly message: Message;
      readonly bytes: number;
    }
  | {
      readonly type: 'connected';
      readonly node: string;
      readonly sessionId: string;
      readonly transport: TransportName;
      readonly at: number;
      /** Grows with each session of the node, on whatever replica. */
      readonly epoch?: number;
    }
  | {
      readonly type: 'disconnected';
      readonly node: string;
      readonly sessionId: string;
      readonly transport: TransportName;
      readonly at: number;
      readonly reason: string;
      /** The epoch of the session that is over. */
      readonly epoch?: number;
    };

/** `id` grows. It is opaque, and serves `afterId` and SSE's `Last-Event-ID`. */
export interface StoredEvent {
  readonly id: string;
  readonly event: UpstreamEvent;
}

export interface SubscribeOptions {
  readonly afterId?: string;
  /**
   * Called before the event that follows, when events of whatever filter were not kept until this subscriber
   * could have them. `count` is undefined where nobody knows how many.
   */
  readonly onMissed?: (count: number | undefined) => void;
}

export interface Subscription {
  /**
   * Id of the newest event that this subscriber was given or that its filter held back. Undefined while it is
   * not known.
   */
  position(): string | undefined;
  end(): void;
}

export interface UpstreamFilter {
  readonly node?: string;
  readonly types?: readonly UpstreamEvent['type'][];
  /** `group`, `source`, `operation` of the message, compared for equality. */
  readonly group?: string;
  readonly source?: string;
  readonly operation?: string;
  /** Resources that begin with this text. */
  readonly resourcePrefix?: string;
}

export interface DownstreamItem {
  readonly node: string;
  readonly message: Message;
  /** False for the kinds that KubeEdge sends once without waiting. */
  readonly acknowledged: boolean;
  /** Milliseconds since the epoch. If the item was not delivered by then, it is dropped and counted. */
  readonly expiresAt?: number;
}

export interface Enqueued {
  /** Settles when the item's fate is known. Never rejects. */
  readonly outcome: Promise<DeliveryOutcome>;
}

export type DeliveryOutcome =
  | { readonly kind: 'acknowledged'; readonly response?: Message }
  /** Sent; a message of this kind is not acknowledged. */
  | { readonly kind: 'sent' }
  /** The edge answered with operation `error`. */
  | { readonly kind: 'rejected'; readonly response: Message }
  /** Retried up to the limit, then parked (J1). */
  | { readonly kind: 'unacknowledged' }
  | { readonly kind: 'superseded' }
  | { readonly kind: 'expired' }
  /** Pushed out by a limit. */
  | { readonly kind: 'dropped'; readonly reason: string };

export interface DownstreamConsumer {
  /** How many items may be under way at once. */
  readonly window: number;
  /**
   * Sends the item, again if needed, and waits for its acknowledgement. `'disconnected'` gives the item back:
   * the bus keeps it in its place for the next session.
   */
  deliver(item: DownstreamItem): Promise<DeliveryOutcome | 'disconnected'>;
}
