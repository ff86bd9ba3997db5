import type { JsonLimits } from '../../protocol/json-scan.ts';

/**
 * Everything a {@link QuicListener} can be told; `src/gateway/listeners.ts` fills it from the
 * configuration. Read anew at each use.
 */
export interface QuicListenerOptions extends JsonLimits {
  readonly host: string;
  /** 0 takes a free one. Host and port are read at `start` only. */
  readonly port: number;
  /** Names this start of the hub, told to edges in the welcome. */
  readonly epoch: string;
  /** `hub.keepaliveTimeoutMs`; the transport's own idle time-out is a little longer. */
  readonly keepaliveTimeoutMs: number;
  readonly maxMessageBytes: number;
  /**
   * Messages of one connection that may wait for the hub; further bytes are kept up to `maxMessageBytes`,
   * then the connection ends.
   */
  readonly maxPendingUpstream: number;
  /** From the first datagram to a TLS session. */
  readonly handshakeTimeoutMs: number;
  /** From the TLS session to a whole hello frame. */
  readonly requestTimeoutMs: number;
  /** Silence of a stream that has sent no whole frame, or only part of one (requirement I5). */
  readonly streamTimeoutMs: number;
  /** In which a peer must take what is written to it (requirement I6). */
  readonly writeTimeoutMs: number;
  /** Flows (client addresses) at once. */
  readonly connections: number;
  readonly connectionsPerIp: number;
  /** TLS handshakes under way at once. */
  readonly handshakes: number;
  /** Flows at once whose address is not proven yet, each with a socket of its own. */
  readonly unproven: number;
  /** Connections of one server of the library, roughly; further servers are added as they are needed. */
  readonly connectionsPerServer: number;
  /** Generations (bundles served) at once; the oldest beyond it is drained. */
  readonly maxGenerations: number;
  /** Window over which a drained generation's connections are asked to reconnect. */
  readonly drainMs: number;
}

/** What the configuration does not name. */
export const QUIC_DEFAULTS = {
  streamTimeoutMs: 10_000,
  unproven: 4_096,
  maxGenerations: 8,
  drainMs: 5_000,
} as const satisfies Partial<QuicListenerOptions>;
