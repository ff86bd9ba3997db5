/**
 * How far the replacement of the CA is. The old CA issues in `idle` and `prepared`, the new one from `active`
 * on. Both are trusted in all phases but `idle` and `revoking`. `revoking` is the moment between the
 * decision, which cannot be taken back, and its end in `idle`.
 */
export type RolloverPhase = 'idle' | 'prepared' | 'active' | 'retiring' | 'revoking';

/**
 * What an administrator asks for. `abort` takes back the last step; after `revoke` it can no longer do so.
 */
export type RolloverStep = 'prepare' | 'activate' | 'retire' | 'revoke' | 'abort';

/**
 * Which of the two CAs; in `idle` there is one, the `current`. `other` is a CA of the trust Secret, or a CA
 * of an earlier time.
 */
export type RolloverSide = 'current' | 'old' | 'new' | 'other';

/** The rollover as an administrator sees it. Times are ISO 8601. */
export interface CaRolloverStatus {
  readonly phase: RolloverPhase;
  /** Grows with every step. */
  readonly version: number;
  /** The CA that `/ca.crt`, tokens and new certificates come from. */
  readonly issuing: RolloverCa;
  /** The CA that is being replaced; undefined in `idle`. */
  readonly old?: RolloverCa;
  /** The CA that replaces it; undefined in `idle`. */
  readonly new?: RolloverCa;
  /**
   * Nodes may know only the CA that does not issue (any longer). Until this time they can verify the hub.
   * Undefined while nothing is cross-signed.
   */
  readonly bridgedUntil?: string;
  /** The latest steps, oldest first. */
  readonly steps: readonly RolloverStepRecord[];
  /** True when connected nodes on the other CA are asked to renew. */
  readonly asking: boolean;
  readonly replicas: readonly RolloverReplica[];
  readonly nodes: RolloverNodeCounts;
  /** One line for a person: `317 of 320 nodes have a certificate of the new CA; edge-12 offline for 9d`. */
  readonly summary: string;
  /**
   * The steps that could be next. Each names what it would be refused for without `force`; the list is empty
   * when the step would be done.
   */
  readonly next: readonly { readonly step: RolloverStep; readonly blockers: readonly string[] }[];
  /** What an administrator should know although it blocks nothing. */
  readonly warnings: readonly string[];
  /** The nodes. Those that depend on the other CA come first. There are at most as many as were asked for. */
  readonly items: readonly RolloverNode[];
}

export interface RolloverCa {
  /** SHA-256 of the DER, lower-case hexadecimal. */
  readonly sha256: string;
  readonly subject: string;
  readonly notAfter: string;
}

export interface RolloverStepRecord {
  readonly step: RolloverStep;
  readonly at: string;
  /** Name of the administrator. */
  readonly by: string;
  readonly forced?: true;
}

/** How far one replica is. */
export interface RolloverReplica {
  readonly replica: string;
  readonly version: number;
  /** When the replica last said so. */
  readonly at: string;
}

export interface RolloverNodeCounts {
  /** Nodes that are known and whose certificate is still good for something. */
  readonly total: number;
  /** In `idle` alone. */
  readonly current: number;
  readonly old: number;
  readonly new: number;
  readonly other: number;
  /** Nodes that would be locked out if the CA that does not issue were no longer trusted. */
  readonly dependent: number;
}

export interface RolloverNode {
  readonly node: string;
  readonly issuedBy: RolloverSide;
  /**
   * The CAs that the node verifies the hub with. `reported`: its SDK told so. `inferred`: the gateway
   * concluded it from the node's certificate and from when the node joined.
   */
  readonly trusts: readonly RolloverSide[];
  readonly trustsFrom: 'reported' | 'inferred';
  readonly serial: string;
  readonly notAfter: string;
  readonly connected: boolean;
  /** Undefined when the node never connected. */
  readonly lastSeen?: string;
  /** True when the node would be locked out without the CA that does not issue. */
  readonly dependent: boolean;
  /** Why the node still depends on it: `offline for 9d`, `connected; renews by itself until 2027-03-01`. */
  readonly note?: string;
}

export interface RolloverRequest {
  readonly step: RolloverStep;
  /** True to do the step although something blocks it. */
  readonly force?: boolean;
  /** Name of the administrator. */
  readonly by: string;
}

/** What the admin listener can see and do. */
export interface CaRolloverAdmin {
  /** @param limit how many nodes at most; 100 by default */
  status(options?: { readonly limit?: number }): CaRolloverStatus;
  /**
   * Resolves when the step is stored and in force here. A step that is already done changes nothing. `retire`
   * asks the connected nodes that are left on the old CA to renew. It asks them even when it is refused
   * because of them.
   * @throws ROLLOVER_PHASE, ROLLOVER_BLOCKED, ROLLOVER_IMPOSSIBLE, errors of the store
   */
  step(request: RolloverRequest): Promise<CaRolloverStatus>;
}
