import type { CertificateSource } from '../contracts/certificate-source.ts';
import type { EdgeAcceptor } from '../contracts/edge-connection.ts';
import type { RejectionSink } from '../contracts/rejections.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { PeerGate } from '../identity/peer-gate.ts';
import type { DescriptorShare } from './descriptor-budget.ts';

/** What each listener for edges is made of. */
export interface EdgeListenerComponents {
  readonly source: CertificateSource;
  readonly gate: Pick<PeerGate, 'check'>;
  readonly acceptor: EdgeAcceptor;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly rejections?: RejectionSink | undefined;
  /** File descriptors that it may use; without it any number. */
  readonly descriptors?: DescriptorShare | undefined;
}
