import type { ListenerName } from '../contracts/listener.ts';
import type { Clock } from '../core/clock.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Refusal } from '../identity/node-identity.ts';

export interface RefusalReporterComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/**
 * Counts every refused peer and logs it at most once a minute for each node (or address, when no trusted CA names a node) and reason
 * (requirements F3, I14, L2).
 */
export class RefusalReporter {
  readonly #components: RefusalReporterComponents;
  readonly #transport: ListenerName;
  readonly #sampler: LogSampler;

  constructor(components: RefusalReporterComponents, transport: ListenerName) {
    this.#components = components;
    this.#transport = transport;
    this.#sampler = new LogSampler({ clock: components.clock });
  }

  report(refusal: Refusal, remoteAddress: string): void {
    const { log, metrics } = this.#components;
    const { reason, detail, claimedNode } = refusal;
    metrics.handshakeFailures.inc({ transport: this.#transport, reason });
    // A connection without any certificate is a probe or a browser, not a fault of the fleet (requirement H2).
    if (reason === 'no-certificate') {
      log.debug({ remoteAddress, reason }, 'a connection without client certificate was refused');
      return;
    }
    // Names that nobody vouches for could be made up without end: each address gets its line a minute, whatever it claims.
    const who = reason === 'unknown-ca' ? remoteAddress : (claimedNode ?? remoteAddress);
    const suppressed = this.#sampler.pass(`${who} ${reason}`);
    if (suppressed === undefined) return;
    log.warn(
      { remoteAddress, reason, detail, ...(claimedNode ? { claimedNode } : {}), suppressed },
      'a client certificate was refused',
    );
  }
}
