import type { AuditFacts } from './audit-trail.ts';

/** Something an operator may want to find later with `kubectl get events`. Holds nothing secret. */
export interface GatewayEvent {
  /** Machine-readable, in CamelCase, as in Kubernetes. */
  readonly reason: EventReason;
  /** `Warning` for what somebody has to look at. */
  readonly type: 'Normal' | 'Warning';
  /** Name of the Secret that the event is about. */
  readonly secret: string;
  /** One sentence for a person. Equal texts are counted, so it must hold no times and no counters. */
  readonly message: string;
  /** For the audit: what is known of whoever did it; without it the gateway did it by itself. */
  readonly deed?: Deed | undefined;
}

/** Who did something, why and from where. */
export interface Deed {
  /** An administrator's or a node's name. */
  readonly by?: string | undefined;
  readonly why?: string | undefined;
  /** Address of whoever asked. */
  readonly from?: string | undefined;
  readonly node?: string | undefined;
  readonly facts?: AuditFacts | undefined;
}

export type EventReason =
  | 'CertificateAuthorityCreated'
  | 'HubCertificateIssued'
  | 'CertificatesChanged'
  | 'SecretRefused'
  | 'EdgeCertificateIssued'
  | 'FleetTokenStored'
  | 'TokensRevoked'
  | 'Revoked'
  | 'RevocationLifted'
  | 'CaRollover'
  | 'CertificateAuthorityExpiring'
  | 'NodeAtRisk'
  | 'CertificatesReturned'
  | 'CertificatesAccepted';

/** Keeps a record of what was done, in addition to log and metrics. */
export interface EventRecorder {
  /** Never throws and never waits. What cannot be kept is dropped. */
  record(event: GatewayEvent): void;
}
