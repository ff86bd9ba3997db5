import type { ListenerName } from '../protocol/listener-names.ts';
import type { PeerFacts } from '../protocol/peer-facts.ts';
import type { RejectionReason } from '../protocol/rejection-reasons.ts';
import type { Unanswered } from './node-directory.ts';

/** One refusal, as the listener that refused reports it. */
export interface RejectionReport {
  readonly listener: ListenerName;
  readonly reason: RejectionReason;
  /** Empty where the transport does not tell it. */
  readonly remoteAddress: string;
  /** The node, when a certificate of a trusted CA names it or a token proves it. */
  readonly node?: string | undefined;
  /** The node that the peer says it is. Nobody vouches for it. */
  readonly claimedNode?: string | undefined;
  /** One sentence; never a token. */
  readonly detail: string;
  readonly facts?: PeerFacts | undefined;
}

/**
 * Where listeners report whom they did not let in. Never throws. Its memory is bounded, whatever is reported.
 */
export interface RejectionSink {
  record(report: RejectionReport): void;
}

/**
 * What is known about one node, or one address, that is refused for one reason at one listener. Times are ISO
 * 8601.
 */
export interface Rejection {
  /** Authenticated. A trusted CA vouches for the name. */
  readonly node?: string;
  /** What the peer last claimed to be. Anybody may have written it. */
  readonly claimedNode?: string;
  readonly reason: RejectionReason;
  readonly listener: ListenerName;
  /** Of the latest attempt. */
  readonly remoteAddress: string;
  readonly count: number;
  readonly firstAt: string;
  readonly lastAt: string;
  /** Of the latest attempt, as the edge was told. */
  readonly detail: string;
  /** What an operator can do about it. */
  readonly fix: string;
  readonly facts?: RejectionFacts;
}

/** {@link PeerFacts} for programs: times are ISO 8601. */
export interface RejectionFacts {
  readonly hubTime?: string;
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly serial?: string;
  readonly presentedIssuer?: string;
  readonly presentedIssuerSha256?: string;
  readonly expectedIssuersSha256?: readonly string[];
}

/** What this replica remembers. */
export interface LocalRejections {
  /** Latest first. */
  list(): readonly Rejection[];
}

/** A rejection, and the replica that remembers it. */
export interface FleetRejection extends Rejection {
  readonly replica: string;
}

export interface RejectionWish {
  /** Only of this node, claimed or proven. */
  readonly node?: string | undefined;
  readonly reason?: string | undefined;
  /** How many at most. */
  readonly limit: number;
}

/** What the admin listener can show of rejections: those of every replica. */
export interface RejectionDirectory {
  /** Latest first. Never throws: a replica that does not answer is named. */
  list(wish: RejectionWish, signal?: AbortSignal): Promise<RejectionListing>;
}

export interface RejectionListing {
  readonly items: readonly FleetRejection[];
  readonly unanswered: readonly Unanswered[];
}
