/**
 * Where the replacement of the CA is. The old CA issues in `idle` and `prepared`, the new one from `active`
 * on; both are trusted in all but `idle` and `revoking`. `revoking` is the moment between the decision, which
 * cannot be taken back, and its end in `idle`.
 */
export type RolloverPhase = 'idle' | 'prepared' | 'active' | 'retiring' | 'revoking';

/** What an administrator asks for; `abort` takes back the last step, until `revoke`. */
export type RolloverStep = 'prepare' | 'activate' | 'retire' | 'revoke' | 'abort';

/** Which of the two CAs; `other`: one of the trust Secret, or one of an earlier time. */
export type RolloverSide = 'old' | 'new' | 'other';

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
   * Until when nodes that only know the CA that does not issue (any longer) can verify the hub; undefined
   * while nothing is cross-signed.
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
  /** What each step that could be next would be refused for without `force`; empty when it would be done. */
  readonly next: readonly { readonly step: RolloverStep; readonly blockers: readonly string[] }[];
  /** What an administrator should know, and what blocks nothing. */
  readonly warnings: readonly string[];
  /** The nodes, those that depend on the other CA first; at most as many as were asked for. */
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
  /** When it told so last. */
  readonly at: string;
}

export interface RolloverNodeCounts {
  /** Nodes that are known and whose certificate is of use. */
  readonly total: number;
  readonly old: number;
  readonly new: number;
  readonly other: number;
  /** Nodes that would be locked out, had the CA that does not issue no trust any more. */
  readonly dependent: number;
}

export interface RolloverNode {
  readonly node: string;
  readonly issuedBy: RolloverSide;
  /**
   * The CAs it verifies the hub with: told by its SDK (`reported`), or concluded from its certificate and
   * when it joined (`inferred`).
   */
  readonly trusts: readonly RolloverSide[];
  readonly trustsFrom: 'reported' | 'inferred';
  readonly serial: string;
  readonly notAfter: string;
  readonly connected: boolean;
  /** Undefined when it never connected. */
  readonly lastSeen?: string;
  /** True when it would be locked out without the CA that does not issue. */
  readonly dependent: boolean;
  /** Why it depends on it still: `offline for 9d`, `connected; renews by itself until 2027-03-01`. */
  readonly note?: string;
}

export interface RolloverRequest {
  readonly step: RolloverStep;
  /** Does the step although something blocks it. */
  readonly force?: boolean;
  /** Name of the administrator. */
  readonly by: string;
}

/** What the admin listener can see and do. */
export interface CaRolloverAdmin {
  /** @param limit how many nodes at most; 100 by default */
  status(options?: { readonly limit?: number }): CaRolloverStatus;
  /**
   * Resolves when the step is stored and in force here. A step that is done already changes nothing. `retire`
   * asks the connected nodes that are left on the old CA to renew, even when it is refused because of them.
   * @throws ROLLOVER_PHASE, ROLLOVER_BLOCKED, ROLLOVER_IMPOSSIBLE, errors of the store
   */
  step(request: RolloverRequest): Promise<CaRolloverStatus>;
}
