import type { NodeIdentity } from '../identity/node-identity.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import type { TransportName } from '../protocol/listener-names.ts';

/**
 * What happened to the session of a node, told in the same turn. It has begun, and later it has ended; one
 * that takes over begins when the other has ended. `shut-out` follows `ended` of a peer that is
 * revoked or quarantined.
 */
export type SessionEvent =
  | {
      readonly type: 'begun';
      readonly peer: NodeIdentity;
      readonly transport: TransportName;
      readonly remoteAddress: string;
    }
  | { readonly type: 'ended'; readonly node: string }
  | {
      readonly type: 'shut-out';
      readonly peer: NodeIdentity;
      readonly sessionId: string;
      readonly transport: TransportName;
      readonly reason: CloseReason;
    };
