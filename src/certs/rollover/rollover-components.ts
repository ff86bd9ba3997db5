import type { X509Certificate } from 'node:crypto';
import type { CertificateStatus } from '../../contracts/certificate-issuer.ts';
import type { CertificateSource } from '../../contracts/certificate-source.ts';
import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { ForgottenNodes } from '../../contracts/node-history.ts';
import type { ReplicaBoard } from '../../contracts/replica-board.ts';
import type { Secret, SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { CaParts } from '../ca/ca-roles.ts';
import type { RolloverState } from '../ca/rollover-state.ts';
import type { NodeEvidence } from './rollover-nodes.ts';

/** The certificates in use: `CurrentCertificates`, which stands a floor above. */
export interface RolloverCertificates extends CertificateSource {
  readonly cas: CaParts;
  readonly furtherTrust: readonly X509Certificate[];
  onRollover(listener: (next: RolloverState, previous: RolloverState) => void): Unsubscribe;
}

/** Who turns the state into trust and certificates: `CertificateManager`, which stands a floor above. */
export interface RolloverManager {
  readonly hubIsManaged: boolean;
  status(): Pick<CertificateStatus, 'problem'>;
  caMatchesStore(): boolean;
  adoptRollover(secret: Secret): Promise<void>;
  repairHub(): Promise<void>;
}

/** All that is known of the fleet, by every replica. */
export interface FleetEvidence {
  nodes(): readonly NodeEvidence[];
  /** Nodes that nobody knows of any more, and that may still come back. */
  forgotten(): ForgottenNodes | undefined;
  /** Takes over what the other replicas know. Never rejects. */
  recall(): Promise<void>;
}

export interface CaRolloverComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: EventRecorder;
  readonly metrics: Pick<Metrics, 'rolloverPhase' | 'rolloverNodes' | 'rolloverDependent' | 'rolloverSteps'>;
  readonly current: RolloverCertificates;
  readonly manager: RolloverManager;
  readonly fleet: FleetEvidence;
  /**
   * Asks every node with a session here whose certificate is of this CA to renew. @returns how many were
   * asked
   */
  readonly ask: (issuerSha256: string) => number;
  readonly board: ReplicaBoard;
}

export interface CaRolloverOptions {
  readonly replica: string;
  readonly caDays: number;
  /** How long an expired certificate may still be renewed, days. */
  readonly graceDays: number;
  /** Names of Secrets; read once. */
  readonly caSecret: string;
  readonly rolloverSecret: string;
  readonly trustSecret: string;
  readonly hubSecret: string;
}
