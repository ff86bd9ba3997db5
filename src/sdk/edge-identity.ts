import { X509Certificate } from 'node:crypto';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { Property } from '../core/property.ts';
import type { RenewRequest } from '../protocol/renew-request.ts';
import type { CredentialStore } from './credential-store.ts';
import { type Validity, validityOf } from './credentials.ts';
import { renewCertificate } from './enrolment.ts';
import type { EdgeCredentials } from './transports/transport.ts';

export interface EdgeIdentityComponents {
  /** What the node has now; stored already. */
  readonly credentials: EdgeCredentials;
  readonly store: CredentialStore;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Source of randomness in [0, 1). */
  readonly random: () => number;
}

export interface EdgeIdentityOptions {
  /** `host:port` of the hub's HTTPS listener. */
  readonly address: string;
  readonly timeoutMs: number;
}

/** A hub that is down for a day must not be asked by a whole fleet every second. */
const RETRY = { minMs: 10_000, maxMs: 3_600_000 };

/**
 * The certificate of one node: knows the present one, stores each new one before it is used, renews it in
 * time.
 */
export class EdgeIdentity {
  readonly credentials: Property<EdgeCredentials>;
  readonly #components: EdgeIdentityComponents;
  readonly #options: EdgeIdentityOptions;
  #timer: Timer | undefined;
  #attempt = 0;
  #onError: ((error: unknown) => void) | undefined;
  #running: Promise<void> | undefined;

  constructor(components: EdgeIdentityComponents, options: EdgeIdentityOptions) {
    this.credentials = new Property(components.credentials);
    this.#components = components;
    this.#options = options;
  }

  get notAfter(): Date {
    return new Date(validityOf(this.credentials.value).notAfter);
  }

  /**
   * A new key and certificate, now. Callers at the same time share one renewal.
   * @throws JOIN_REFUSED, CONNECT_FAILED, or the error of the disk
   */
  renew(signal?: AbortSignal): Promise<void> {
    this.#running ??= this.#renew(signal).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /**
   * The hub asks for a new certificate: at a random moment within the time it gives, unless this one is not
   * the one it means.
   */
  renewWithin({ serial, withinMs, reason }: RenewRequest): void {
    const { logger, random } = this.#components;
    const present = new X509Certificate(this.credentials.value.certificate).serialNumber;
    if (!this.#onError || present.toUpperCase() !== serial.toUpperCase()) return;
    logger.info({ reason, withinMs }, 'the hub asks for a new certificate');
    this.#attempt = 0;
    this.#arm(withinMs * random());
  }

  /**
   * From now on renews by itself. @param onError told of each failed attempt; the next follows after a
   * back-off
   */
  start(onError: (error: unknown) => void): void {
    this.#onError = onError;
    this.#schedule();
  }

  stop(): void {
    this.#onError = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  async #renew(signal: AbortSignal | undefined): Promise<void> {
    const { clock, store, logger } = this.#components;
    const present = this.credentials.value;
    const next = await renewCertificate(present, { ...this.#options, clock, ...(signal ? { signal } : {}) });
    await store.save(next);
    const { serialNumber, issuer } = new X509Certificate(next.certificate);
    logger.info({ node: next.node, serial: serialNumber, issuer }, 'certificate renewed');
    this.#attempt = 0;
    this.credentials.set(next);
    if (this.#onError) this.#schedule();
  }

  #schedule(): void {
    const { clock, random } = this.#components;
    const dueAt = renewAt(validityOf(this.credentials.value), random());
    // Overdue: a fleet that was switched off over the date must not ask in one second.
    this.#arm(dueAt > clock.now() ? dueAt - clock.now() : 60_000 * random());
  }

  #arm(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#components.clock.setTimeout(() => {
      void this.renew().catch((error: unknown) => this.#failed(error));
    }, delayMs);
  }

  #failed(error: unknown): void {
    // Stopped meanwhile: nobody is interested.
    if (!this.#onError) return;
    // Added, not the larger of both: all whom the hub told the same time would come at that moment.
    const delayMs =
      backoffDelayMs(this.#attempt++, { ...RETRY, random: this.#components.random }) + retryAfterMs(error);
    this.#components.logger.warn({ err: error, delayMs }, 'the certificate could not be renewed');
    this.#onError(error);
    this.#arm(delayMs);
  }
}

/**
 * When to renew: at a random point in 70–90 % of the lifetime, KubeEdge's own window
 * (`edge/pkg/edgehub/certificate`), so that a fleet that joined in one minute does not renew in one.
 */
export function renewAt({ notBefore, notAfter }: Validity, random: number): number {
  return notBefore + (notAfter - notBefore) * (0.7 + 0.2 * random);
}

function retryAfterMs(error: unknown): number {
  const value = error instanceof SallyportError ? error.details.retryAfterMs : undefined;
  return typeof value === 'number' ? value : 0;
}
