import type { AuditTrail } from '../../contracts/audit-trail.ts';
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
  /** What is issued reaches the audit through these, too. */
  readonly events?: EventRecorder;
  readonly trail?: AuditTrail;
  /** Told of each issuance. */
  readonly onIssued?: (record: IssuanceRecord) => void;
}

/** A request for a certificate that was refused. */
export interface RefusedIssuance {
  readonly code: string;
  readonly problem: string;
  readonly remoteAddress: string;
  /** The node, when its certificate proves it. */
  readonly node?: string | undefined;
  /** The node that the caller says it is. */
  readonly claimedNode?: string | undefined;
  /** Like refusals since the one before, which nothing else tells of. */
  readonly suppressed: number;
}

/** The records of issuance: one log line each, the audit, and the latest in memory. */
export class IssuanceLog {
  readonly #log: Logger;
  readonly #events: EventRecorder | undefined;
  readonly #trail: AuditTrail | undefined;
  readonly #onIssued: (record: IssuanceRecord) => void;
  readonly #caSecret: string;
  readonly #limit: number;
  readonly #records: IssuanceRecord[] = [];

  constructor(
    { log, events, trail, onIssued = () => {} }: IssuanceLogComponents,
    { limit = 1_000, caSecret = 'casecret' }: IssuanceLogOptions = {},
  ) {
    this.#log = log;
    this.#events = events;
    this.#trail = trail;
    this.#onIssued = onIssued;
    this.#caSecret = caSecret;
    this.#limit = limit;
  }

  record(record: IssuanceRecord): void {
    this.#log.info({ audit: 'certificate-issued', ...record }, 'edge certificate issued');
    const { node, how, serial, notAfter, remoteAddress: from } = record;
    const { issuerSha256, publicKeySha256, usages, tokenId, oldSerial, replacedConnected } = record;
    this.#events?.record({
      reason: 'EdgeCertificateIssued',
      type: 'Normal',
      secret: this.#caSecret,
      message: `issued certificate ${serial} to node ${node} (${how}), valid until ${notAfter}`,
      deed: {
        by: node,
        why: how,
        from,
        node,
        facts: { serial, issuerSha256, publicKeySha256, usages, tokenId, oldSerial, replacedConnected },
      },
    });
    this.#records.push(record);
    this.#onIssued(record);
    if (this.#records.length > this.#limit) this.#records.shift();
  }

  refused({ code, problem, remoteAddress: from, node, claimedNode, suppressed }: RefusedIssuance): void {
    this.#trail?.record({
      action: 'certificate-refused',
      who: node ?? 'unknown',
      why: problem,
      from,
      node,
      facts: { code, claimedNode, ...(suppressed > 0 ? { suppressed } : {}) },
    });
  }

  /** The latest records, oldest first. */
  recent(): readonly IssuanceRecord[] {
    return [...this.#records];
  }
}
