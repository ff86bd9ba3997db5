import type { Unsubscribe } from '../core/property.ts';
import type { RevocationReason } from '../identity/revocation-reasons.ts';

/** What decides about a peer. */
export interface RevocablePeer {
  /** The node the certificate names; empty when it names none (administrators). */
  readonly nodeName: string;
  /** Hexadecimal. */
  readonly serial: string;
  readonly issuerSha256: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
}

/**
 * The one decision about who is shut out, in force on this replica. Asked with every handshake: synchronous,
 * from memory.
 */
export interface RevocationDecisions {
  /** Why this certificate, or its node, is not accepted; undefined when it is. A text the edge may read. */
  isRevoked(peer: RevocablePeer): string | undefined;
  /** Why nothing is issued to this node; undefined when it may join. */
  isNodeRevoked(node: string): string | undefined;
  /** Told after each change of the decision, before anybody gets its receipt. */
  onChange(listener: () => void): Unsubscribe;
}

/** One entry of the list. Times are ISO 8601. */
export interface Revocation {
  /** Names the entry while it exists. */
  readonly id: string;
  /** `node`: shut out under its name; `certificate`: one certificate, by its serial. */
  readonly kind: 'node' | 'certificate';
  readonly node?: string;
  /** Upper-case hexadecimal without leading zeros. */
  readonly serial?: string;
  /** Only a certificate of this CA is meant (SHA-256 of its DER); without it the serial of any. */
  readonly issuerSha256?: string;
  readonly reason: RevocationReason;
  readonly at: string;
  /** Name of the administrator. */
  readonly by: string;
  readonly note?: string;
  /** Version of the list that brought the entry, as it is now, into force. */
  readonly version: number;
  /** Certificates the node was seen with; they stand in the CRL. */
  readonly certificates?: readonly { readonly serial: string; readonly issuerSha256: string }[];
  /** Set once a revoked node may join again: its certificates that began before this stay revoked. */
  readonly rejoinedBefore?: string;
}

/** A session ended by a revocation. */
export interface ClosedSession {
  readonly revocation: string;
  readonly node: string;
  readonly sessionId: string;
  readonly transport: string;
  /** ISO 8601. */
  readonly at: string;
}

/** What one replica has seen and done. */
export interface ReplicaReceipt {
  readonly replica: string;
  /** Newest version of the list in force there. */
  readonly version: number;
  /** When that came into force there. */
  readonly appliedAt: string;
  /** When the replica last said that it lives. */
  readonly aliveAt: string;
  /** False when it has not said so for some minutes. */
  readonly alive: boolean;
  /** The latest sessions it closed. */
  readonly closed: readonly ClosedSession[];
}

/** Proof of what became of a decision: who closed what, when, on which replica. */
export interface RevocationReceipt {
  /** The entry; undefined after it was lifted. */
  readonly revocation?: Revocation;
  /** Version of the list that holds the decision. */
  readonly version: number;
  /** True when every replica that is alive has it in force. */
  readonly complete: boolean;
  readonly replicas: readonly ReplicaReceipt[];
}

export type RevocationTarget =
  | { readonly node: string }
  | { readonly serial: string; readonly issuerSha256?: string };

export interface RevokeRequest {
  readonly target: RevocationTarget;
  readonly reason: RevocationReason;
  readonly note?: string;
  /** Name of the administrator. */
  readonly by: string;
}

export interface LiftRequest {
  readonly target: RevocationTarget;
  /** Of a node: it may join again, and its certificates of before stay revoked. */
  readonly rejoin?: boolean;
  readonly by: string;
}

/**
 * What the admin listener can see and do. A promise resolves when the decision is stored and in force here.
 */
export interface RevocationAdmin {
  list(): { readonly version: number; readonly items: readonly Revocation[] };
  /** Undefined when there is no such entry. */
  receipt(id: string): RevocationReceipt | undefined;
  /** How far the replicas are with the newest version. */
  replicas(): RevocationReceipt;
  /** The same again changes nothing. @throws REVOCATIONS_FULL, errors of the store */
  revoke(request: RevokeRequest): Promise<RevocationReceipt>;
  /** @throws REVOCATION_NOT_FOUND, errors of the store */
  lift(request: LiftRequest): Promise<RevocationReceipt>;
  onChange: RevocationDecisions['onChange'];
}

/** The list for others, as X.509 CRL. */
export interface CrlSource {
  /** @throws CRL_UNAVAILABLE when the CA may not sign one */
  current(): Promise<{ readonly der: Uint8Array; readonly nextUpdate: Date }>;
}
