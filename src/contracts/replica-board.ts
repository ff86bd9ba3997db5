import type { ClosedSession } from './revocations.ts';
import type { ServedCertificate } from './served-certificates.ts';

/** What one run of a replica tells the others. Times in milliseconds since the epoch. */
export interface ReplicaFacts {
  /** The list of revocations in force: its version, and since when. */
  readonly revocation: { readonly version: number; readonly appliedAt: number };
  /** The latest sessions that it closed because of a revocation, newest last. */
  readonly closed: readonly ClosedSession[];
  /** Version of the CA rollover that it follows. */
  readonly rollover: number;
  readonly served: readonly ServedCertificate[];
}

export interface ReplicaEntry extends ReplicaFacts {
  readonly replica: string;
  /** When it last said that it lives. */
  readonly aliveAt: number;
}

export interface KnownReplica extends ReplicaEntry {
  /** After a crash a replica comes back under the same name, as another run. */
  readonly run: string;
  /** False when it has not said for some minutes that it lives. */
  readonly alive: boolean;
}

/** The one place that knows which replicas live and how far each is. */
export interface ReplicaBoard {
  /** Names this run. */
  readonly run: string;
  /** This one as it is, the others as last heard of. */
  replicas(): readonly KnownReplica[];
  /** The others are heard of anew. @throws errors of the store */
  read(signal?: AbortSignal): Promise<void>;
  /** Is told to the others at once; what cannot be stored now is tried again. Never rejects. */
  tell(facts: Partial<ReplicaFacts>): Promise<void>;
  /** Is told with the next sign of life. */
  note(facts: Partial<ReplicaFacts>): void;
  /** By the others that live. */
  servedByOthers(): readonly ServedCertificate[];
  readonly elders: ElderReplicas;
}

/**
 * Replicas of version 0.1, which know no board: they keep receipts in the Secret of the revocations. While
 * one lives, it is told there too.
 */
export interface ElderReplicas {
  /** One lives, or may live and wait for a sign of this one. */
  readonly present: boolean;
  /** One is present and was told nothing for as long as a sign of life is good. */
  readonly waiting: boolean;
  /** Receipts as they are stored. */
  hear(receipts: Uint8Array | undefined): void;
  /** The receipts with that of this run; the very same when no elder is present. */
  answer(receipts: Uint8Array | undefined): Uint8Array | undefined;
  /** The receipts without that of this run. */
  leave(receipts: Uint8Array | undefined): Uint8Array | undefined;
}
