import type { Unsubscribe } from '../core/property.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { Message } from '../protocol/message.ts';

/**
 * The seam between the hub and cloud programs. Delivery, the same on every implementation: downstream at
 * least once until the edge acknowledges, in order per node and object; the newest version of an object
 * replaces an older one that is still queued, deletes included; bounded per node and in all, with a time to
 * live. Upstream is taken when `publish` resolves.
 */
export interface MessageBus {
  readonly name: string;
  start(signal: AbortSignal): Promise<void>;
  stop(signal: AbortSignal): Promise<void>;
  /** Why the bus cannot take messages now; undefined when it can. */
  problem(): string | undefined;

  // — upstream: edge → cloud —
  /** Resolves when the bus has taken the event. @throws BUS_UNAVAILABLE, QUEUE_FULL */
  publish(event: UpstreamEvent): Promise<void>;
  /**
   * Follows upstream events. With `afterId`, what is still in the bounded buffer after that id is delivered
   * first. A subscriber that throws is unsubscribed and never disturbs the others.
   */
  subscribe(
    filter: UpstreamFilter,
    onEvent: (event: StoredEvent) => void,
    options?: { afterId?: string },
  ): Unsubscribe;

  // — downstream: cloud → edge —
  /**
   * Resolves when the message is queued for its node, or superseded at once by a newer one that is. @throws
   * QUEUE_FULL, BUS_UNAVAILABLE
   */
  enqueue(item: DownstreamItem): Promise<Enqueued>;
  /**
   * As {@link enqueue}, for a sender who will not ask what became of the message: its fate costs this replica
   * no memory.
   */
  post(item: DownstreamItem): Promise<void>;
  /**
   * A session takes the backlog of its node and what follows, until detached. At most one a node: a later one
   * replaces an earlier.
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
      /** Of the session that is over. */
      readonly epoch?: number;
    };

/** `id` grows; opaque, for `afterId` and SSE's `Last-Event-ID`. */
export interface StoredEvent {
  readonly id: string;
  readonly event: UpstreamEvent;
}

export interface UpstreamFilter {
  readonly node?: string;
  readonly types?: readonly UpstreamEvent['type'][];
  /** `group`, `source`, `operation` of the message, compared for equality. */
  readonly group?: string;
  readonly source?: string;
  readonly operation?: string;
  /** Resources that begin so. */
  readonly resourcePrefix?: string;
}

export interface DownstreamItem {
  readonly node: string;
  readonly message: Message;
  /** False for the kinds KubeEdge sends once without waiting. */
  readonly acknowledged: boolean;
  /** Dropped, and counted, when it was not delivered by then; milliseconds since the epoch. */
  readonly expiresAt?: number;
}

export interface Enqueued {
  /** Settles when the item's fate is known. Never rejects. */
  readonly outcome: Promise<DeliveryOutcome>;
}

export type DeliveryOutcome =
  | { readonly kind: 'acknowledged'; readonly response?: Message }
  /** Sent, of a kind that is not acknowledged. */
  | { readonly kind: 'sent' }
  /** The edge answered with operation `error`. */
  | { readonly kind: 'rejected'; readonly response: Message }
  /** Retried to the bound, then parked (J1). */
  | { readonly kind: 'unacknowledged' }
  | { readonly kind: 'superseded' }
  | { readonly kind: 'expired' }
  /** Pushed out by a limit. */
  | { readonly kind: 'dropped'; readonly reason: string };

export interface DownstreamConsumer {
  /** How many items may be under way at once. */
  readonly window: number;
  /**
   * Sends the item and waits for its acknowledgement, with re-sends. `'disconnected'` gives it back: the bus
   * keeps it in its place for the next session.
   */
  deliver(item: DownstreamItem): Promise<DeliveryOutcome | 'disconnected'>;
}
