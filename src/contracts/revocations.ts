import type { Unsubscribe } from '../core/property.ts';
import type { RevocationReason, ShutOut } from '../identity/revocation-reasons.ts';

/** What the decision about a peer depends on. */
export interface RevocablePeer {
  /** The node that the certificate names; empty when it names none (administrators). */
  readonly nodeName: string;
  /** Hexadecimal. */
  readonly serial: string;
  readonly issuerSha256: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
}

/**
 * The one decision about who is shut out, in force on this replica. It is asked at every handshake, so it is
 * synchronous and answers from memory.
 */
export interface RevocationDecisions {
  /** Why this certificate or its node is not accepted; undefined when it is. */
  isRevoked(peer: RevocablePeer): ShutOut | undefined;
  /** Why nothing is issued to this node; undefined when it may join. */
  isNodeRevoked(node: string): ShutOut | undefined;
  /** Called after each change of the decision, before anybody gets its receipt. */
  onChange(listener: () => void): Unsubscribe;
}

/** One entry of the list. Times are ISO 8601. */
export interface Revocation {
  /** Names the entry while it exists. */
  readonly id: string;
  /** `node`: a node is shut out by its name. `certificate`: one certificate is shut out by its serial. */
  readonly kind: 'node' | 'certificate';
  readonly node?: string;
  /** Upper-case hexadecimal without leading zeros. */
  readonly serial?: string;
  /**
   * SHA-256 of a CA's DER: only a certificate of this CA is meant. Without it, the serial of any CA is meant.
   */
  readonly issuerSha256?: string;
  readonly reason: RevocationReason;
  readonly at: string;
  /** Name of the administrator. */
  readonly by: string;
  readonly note?: string;
  /** Version of the list that brought the entry, as it is now, into force. */
  readonly version: number;
  /** Certificates that the node was seen with. They are in the CRL. */
  readonly certificates?: readonly { readonly serial: string; readonly issuerSha256: string }[];
  /** Set when a revoked node may join again. Its certificates that began before this time stay revoked. */
  readonly rejoinedBefore?: string;
}

/** A session that a revocation ended. */
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
  /** When that version came into force there. */
  readonly appliedAt: string;
  /** When the replica last said that it lives. */
  readonly aliveAt: string;
  /** False when it has not said so for some minutes. */
  readonly alive: boolean;
  /** The latest sessions that the replica closed. */
  readonly closed: readonly ClosedSession[];
}

/** Proof of what became of a decision: which replica closed which session, and when. */
export interface RevocationReceipt {
  /** The entry; undefined after it was lifted. */
  readonly revocation?: Revocation;
  /** Version of the list that holds the decision. */
  readonly version: number;
  /** True when the decision is in force on every replica that is alive. */
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
  /** For a node: it may join again, and its earlier certificates stay revoked. */
  readonly rejoin?: boolean;
  readonly by: string;
}

/**
 * What the admin listener can see and do. A promise resolves when the decision is stored and is in force
 * here.
 */
export interface RevocationAdmin {
  list(): { readonly version: number; readonly items: readonly Revocation[] };
  /** Undefined when there is no such entry. */
  receipt(id: string): RevocationReceipt | undefined;
  /** How far the replicas are with the newest version. */
  replicas(): RevocationReceipt;
  /** To revoke the same again changes nothing. @throws REVOCATIONS_FULL, errors of the store */
  revoke(request: RevokeRequest): Promise<RevocationReceipt>;
  /** @throws REVOCATION_NOT_FOUND, errors of the store */
  lift(request: LiftRequest): Promise<RevocationReceipt>;
  onChange: RevocationDecisions['onChange'];
}

/** The list for others, as an X.509 CRL. */
export interface CrlSource {
  /** @throws CRL_UNAVAILABLE when the CA may not sign one */
  current(): Promise<{ readonly der: Uint8Array; readonly nextUpdate: Date }>;
}
