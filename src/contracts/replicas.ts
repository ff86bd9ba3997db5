import type { GatewayInfo } from './gateway-info.ts';
import type { Unanswered } from './node-directory.ts';

/** What the replicas of a fleet say about themselves. */
export interface Replicas {
  /** Never throws. A replica that does not answer is named. */
  list(signal?: AbortSignal): Promise<ReplicaListing>;
}

export interface ReplicaListing {
  readonly items: readonly GatewayInfo[];
  readonly unanswered: readonly Unanswered[];
}
