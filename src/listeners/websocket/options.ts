import type { JsonLimits } from '../../protocol/json-scan.ts';
import type { TlsServerLimits } from '../accepted-sockets.ts';
import type { TlsPolicy } from '../tls-options.ts';

/**
 * Asked again whenever a value is used, so all but `host`, `port` and `limits.proxyProtocolFrom` change live.
 */
export interface WebSocketListenerOptions extends JsonLimits {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsPolicy;
  readonly limits: TlsServerLimits & {
    /** Time in which a peer must take what was written to it. */
    readonly writeTimeoutMs: number;
  };
  readonly maxMessageBytes: number;
  /** `onMessage` promises a connection may have pending before it is read no further. */
  readonly maxPendingUpstream: number;
}
