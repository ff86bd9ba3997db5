import type { IssuanceRecord } from '../../contracts/certificate-issuer.ts';
import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { Logger } from '../../core/log.ts';

export interface IssuanceLogOptions {
  /** Records kept for `recent()`. */
  readonly limit?: number;
  /** Secret of the CA, which Events are about. */
  readonly caSecret?: string;
}

export interface IssuanceLogComponents {
  readonly log: Logger;
  readonly events?: EventRecorder;
  /** Told of each issuance. */
  readonly onIssued?: (record: IssuanceRecord) => void;
}

/** The audit trail of issuance: one log line each, and the latest in memory. */
export class IssuanceLog {
  readonly #log: Logger;
  readonly #events: EventRecorder | undefined;
  readonly #onIssued: (record: IssuanceRecord) => void;
  readonly #caSecret: string;
  readonly #limit: number;
  readonly #records: IssuanceRecord[] = [];

  constructor(
    { log, events, onIssued = () => {} }: IssuanceLogComponents,
    { limit = 1_000, caSecret = 'casecret' }: IssuanceLogOptions = {},
  ) {
    this.#log = log;
    this.#events = events;
    this.#onIssued = onIssued;
    this.#caSecret = caSecret;
    this.#limit = limit;
  }

  record(record: IssuanceRecord): void {
    this.#log.info({ audit: 'certificate-issued', ...record }, 'edge certificate issued');
    const { node, how, serial, notAfter } = record;
    this.#events?.record({
      reason: 'EdgeCertificateIssued',
      type: 'Normal',
      secret: this.#caSecret,
      message: `issued certificate ${serial} to node ${node} (${how}), valid until ${notAfter}`,
    });
    this.#records.push(record);
    this.#onIssued(record);
    if (this.#records.length > this.#limit) this.#records.shift();
  }

  /** The latest records, oldest first. */
  recent(): readonly IssuanceRecord[] {
    return [...this.#records];
  }
}
