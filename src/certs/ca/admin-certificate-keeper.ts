import type { AuditTrail } from '../../contracts/audit-trail.ts';
import type { CertificateSource } from '../../contracts/certificate-source.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { Component } from '../../core/lifecycle.ts';
import type { Logger } from '../../core/log.ts';
import type { Unsubscribe } from '../../core/property.ts';
import {
  type AdminCertificateOptions,
  type AdminIssuer,
  ensureAdminCertificate,
} from './admin-certificate.ts';

export interface AdminKeeperComponents {
  /** The CA in use now. */
  readonly authority: () => AdminIssuer;
  /** Tells of another CA: the certificate is then issued anew. */
  readonly source?: Pick<CertificateSource, 'onChange'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly audit: AuditTrail;
}

/** How often the certificate is looked at: a day is little of the life of any. */
const CHECK_MS = 86_400_000;

/** Keeps the admin certificate beside the directory store usable for as long as the gateway runs. */
export class AdminCertificateKeeper implements Component {
  readonly name = 'admin certificate';
  readonly #components: AdminKeeperComponents;
  readonly #options: AdminCertificateOptions;
  #timer: Timer | undefined;
  #unsubscribe: Unsubscribe | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(components: AdminKeeperComponents, options: AdminCertificateOptions) {
    this.#components = components;
    this.#options = options;
  }

  /** @throws what the file system says when the files cannot be written */
  async start(): Promise<void> {
    await this.#ensure();
    const { clock, source } = this.#components;
    this.#timer = clock.setInterval(() => this.#renew(), CHECK_MS);
    this.#unsubscribe = source?.onChange((next, previous) => {
      if (next.ca.sha256 !== previous.ca.sha256) this.#renew();
    });
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#unsubscribe?.();
    await this.#running;
  }

  #renew(): void {
    this.#running = this.#running
      .then(() => this.#ensure())
      .catch((error) => {
        this.#components.log.error(
          { problem: describeError(error) },
          'the admin certificate could not be renewed',
        );
      });
  }

  async #ensure(): Promise<void> {
    await ensureAdminCertificate(
      { ...this.#components, authority: this.#components.authority() },
      this.#options,
    );
  }
}
