import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { EdgeTransport } from './transports/transport.ts';

/** Where the hub listens, each `host:port`; IPv6 in brackets. The transports it has, and `https`. */
export interface HubAddresses extends Readonly<Partial<Record<TransportName, string>>> {
  /** Enrolment and renewal. */
  readonly https: string;
}

export interface EdgeClientOptions {
  /** `{ https, websocket?, quic?, webtransport? }`, each `host:port`; IPv6 in brackets. */
  readonly hub: HubAddresses;
  /** Name of this node. */
  readonly node: string;
  /**
   * Folder for key, certificate and CA, and for what `auto` remembers; made when missing. One client a
   * folder.
   */
  readonly directory: string;
  /**
   * `auto`, the default: QUIC where the hub has it and it was seen to work, else WebSocket. It is tried once
   * beside each WebSocket link, which moves when it gets through, and not for ten minutes after it failed.
   */
  readonly transport?: TransportName | 'auto';
  /** KubeEdge's `project_id`. */
  readonly projectId?: string;
  /** Period of the keepalive message; the hub ends a session after 30 s of silence. */
  readonly heartbeatMs?: number;
  /** Largest message in either direction, bytes. */
  readonly maxMessageBytes?: number;
  /** For one attempt to connect, and for one request to join or to renew. */
  readonly connectTimeoutMs?: number;
  /** How long the hub may take to accept what is written to it; then the link is given up. */
  readonly writeTimeoutMs?: number;
  /** How overdue an acknowledgement may be before messages are sent again on the same link. */
  readonly ackTimeoutMs?: number;
  /** How long `request` waits for its answer. */
  readonly requestTimeoutMs?: number;
  /** Bounds of what waits to be sent or acknowledged, and how many messages are under way at once. */
  readonly queue?: { readonly messages?: number; readonly bytes?: number; readonly window?: number };
  /** Bounds of the back-off between attempts to connect. */
  readonly reconnect?: { readonly minMs?: number; readonly maxMs?: number };
}

/** All optional: the time of the system, no log, real randomness, the transports of this SDK. */
export interface EdgeClientComponents {
  readonly clock?: Clock;
  readonly logger?: Logger;
  /** Source of randomness in [0, 1). */
  readonly random?: () => number;
  /** Instead of the transport that the options name. */
  readonly transport?: EdgeTransport;
}

/**
 * Defaults are KubeEdge's where it has one (`edgehub`: heartbeat 15 s, project id); the others match the
 * hub's limits.
 */
export function withDefaults(options: EdgeClientOptions) {
  return {
    transport: 'auto' as const,
    projectId: 'e632aba927ea4ac2b575ec1603d56f10',
    heartbeatMs: 15_000,
    maxMessageBytes: 16 * 1024 * 1024,
    connectTimeoutMs: 15_000,
    writeTimeoutMs: 30_000,
    ackTimeoutMs: 30_000,
    requestTimeoutMs: 30_000,
    ...given(options),
    queue: { messages: 1_000, bytes: 32 * 1024 * 1024, window: 32, ...given(options.queue ?? {}) },
    reconnect: { minMs: 1_000, maxMs: 60_000, ...given(options.reconnect ?? {}) },
  };
}

/**
 * Without what is present and undefined, which would undo a default. The compiler forbids it; programs in
 * JavaScript do it.
 */
function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

export type EdgeClientSettings = ReturnType<typeof withDefaults>;
