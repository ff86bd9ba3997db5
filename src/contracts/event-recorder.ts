/** Something an operator may want to find later with `kubectl get events`. Holds nothing secret. */
export interface GatewayEvent {
  /** Machine-readable, in CamelCase, as Kubernetes has it. */
  readonly reason: EventReason;
  /** `Warning` for what somebody has to look at. */
  readonly type: 'Normal' | 'Warning';
  /** Name of the Secret it is about. */
  readonly secret: string;
  /** One sentence for a person. Equal texts are counted, so times and counters do not belong in it. */
  readonly message: string;
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

/** Keeps a trail of what was done beside log and metrics. */
export interface EventRecorder {
  /** Never throws and never waits; what cannot be kept is dropped. */
  record(event: GatewayEvent): void;
}
