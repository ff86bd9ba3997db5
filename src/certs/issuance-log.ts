import type { IssuedCertificate } from '../contracts/certificate-issuer.ts';
import type { Logger } from '../core/log.ts';

/** Who got which certificate, and on the strength of what (requirement D12). Holds nothing secret. */
export interface IssuanceRecord {
  /** ISO 8601, as all times here. */
  readonly at: string;
  readonly node: string;
  readonly how: IssuedCertificate['how'];
  readonly serial: string;
  /** SHA-256 of the public key's SPKI, lower-case hexadecimal. */
  readonly publicKeySha256: string;
  readonly usages: readonly string[];
  readonly notAfter: string;
  readonly remoteAddress: string;
  readonly replica: string;
  /** Names the token; it is not the token. */
  readonly tokenId?: string;
  /** Serial of the certificate that was renewed. */
  readonly oldSerial?: string;
  /** True when a token join was let through although the node was connected (requirement D11). */
  readonly replacedConnected?: boolean;
}

export interface IssuanceLogOptions {
  /** Records kept for `recent()`. */
  readonly limit?: number;
}

/** The audit trail of issuance: one log line each, and the latest in memory. */
export class IssuanceLog {
  readonly #log: Logger;
  readonly #limit: number;
  readonly #records: IssuanceRecord[] = [];

  constructor({ log }: { log: Logger }, { limit = 1_000 }: IssuanceLogOptions = {}) {
    this.#log = log;
    this.#limit = limit;
  }

  record(record: IssuanceRecord): void {
    this.#log.info({ audit: 'certificate-issued', ...record }, 'edge certificate issued');
    this.#records.push(record);
    if (this.#records.length > this.#limit) this.#records.shift();
  }

  /** The latest records, oldest first. */
  recent(): readonly IssuanceRecord[] {
    return [...this.#records];
  }
}
