import type { JsonLimits } from '../../protocol/json-scan.ts';
import type { TlsServerLimits } from '../accepted-sockets.ts';
import type { TlsPolicy } from '../tls-options.ts';

/**
 * Asked again whenever a value is used, so all but `host`, `port` and `limits.proxyProtocolFrom` change live.
 */
export interface WebTransportListenerOptions extends JsonLimits {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsPolicy;
  readonly limits: TlsServerLimits & {
    /** Time in which a peer must take what was written to it. */
    readonly writeTimeoutMs: number;
    /** Window over which sessions are asked to come back at once, where several are. */
    readonly drainMs: number;
  };
  /** Names this start of the hub, told to edges in the welcome. */
  readonly epoch: string;
  readonly maxMessageBytes: number;
  /** `onMessage` promises a connection may have pending before it is read no further. */
  readonly maxPendingUpstream: number;
  /**
   * Bytes in either direction after which a session is asked to come back; well below the 4 GiB of a
   * session's credit.
   */
  readonly sessionBytes: number;
}
