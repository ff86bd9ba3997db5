import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';

/** What everything needs that reads or writes the certificates of the hub. */
export interface CertificateComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly events?: EventRecorder;
}
