import type { TransportName } from '../protocol/listener-names.ts';

/**
 * Which replica has the session of a node. A node has at most one owner in the whole fleet. An epoch tells
 * owners apart: it grows with each change of owner. A hub that runs alone is the same code with an ownership
 * that always says yes at once.
 */
export interface NodeOwnership {
  /** This replica. */
  readonly self: ReplicaInfo;
  /**
   * Takes the node for a session, from whoever has it. The newest connection wins, as within one replica. A
   * second claim for the same node replaces the first one of this replica; the first one hears nothing more.
   *
   * While the fleet cannot be asked, the claim is provisional (`suspended`). It is made good by itself as
   * soon as the fleet can be asked. Until then it yields to a session that began later elsewhere.
   */
  claim(request: ClaimRequest, holder: ClaimHolder): Claim;
  /**
   * Who has the node, on a replica that is alive; undefined when nobody has it. @throws BUS_UNAVAILABLE when
   * nobody can say
   */
  owner(node: string): Promise<NodeOwner | undefined>;
  /**
   * As {@link owner}, but from memory where the answer is there. It lags behind by what this replica has not
   * heard yet. It serves every message that is sent.
   */
  lastKnownOwner(node: string): Promise<NodeOwner | undefined>;
  /**
   * Replicas that are alive, this one included. While the fleet cannot be asked, these are the last known
   * ones.
   */
  replicas(): readonly ReplicaInfo[];
  /** Why claims cannot be made good now; undefined when they can. */
  problem(): string | undefined;
}

export interface ClaimRequest {
  readonly node: string;
  readonly sessionId: string;
  readonly transport: TransportName;
  /** When the session began, milliseconds since the epoch. */
  readonly since: number;
}

/**
 * The session behind a claim. No method may throw. After `release` or `lost` no method but `took` is called.
 */
export interface ClaimHolder {
  /**
   * The node was another replica's until now. That session is over, whatever its replica says later, and
   * nobody else reports its end. Called before `held`, and even when the claim was released before it could
   * be held.
   * @param changes how often the node has changed between replicas in quick succession (G4)
   */
  took(from: NodeOwner, changes: number): void;
  /**
   * The node is this session's: messages may be delivered from now on. Called again after `suspended`. The
   * epoch is a new one when the claim had to be made anew.
   */
  held(epoch: number): void;
  /** Nobody can say any longer whose the node is. Nothing may be delivered; the connection stays. */
  suspended(): void;
  /** Another replica has the node. The session has to end, and says nothing more about the node. */
  lost(to: NodeOwner): void;
}

export interface Claim {
  readonly node: string;
  readonly sessionId: string;
  readonly state: ClaimState;
  /** The epoch of the last time it was held; undefined when it never was. */
  readonly epoch: number | undefined;
  /** Gives the node up, unless somebody else has it by now. A release with an old epoch changes nothing. */
  release(): void;
}

/**
 * `claiming`: not yet answered. `suspended`: provisional, or not to be relied on now. `over`: released,
 * replaced or lost.
 */
export type ClaimState = 'claiming' | 'held' | 'suspended' | 'over';

export interface NodeOwner {
  readonly replica: string;
  /** Tells this run of the replica from an earlier run, and from another replica of the same name. */
  readonly run: string;
  readonly sessionId: string;
  readonly transport: TransportName;
  readonly epoch: number;
  /** When the session began, in milliseconds since the epoch, by the clock of its replica. */
  readonly at: number;
}

export interface ReplicaInfo {
  readonly replica: string;
  readonly run: string;
}
