import type { Secret } from '../../contracts/secret-store.ts';
import { backoffDelayMs } from '../../core/backoff.ts';
import type { Timer } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import { resolveCaRoles } from '../ca/ca-roles.ts';
import { CertificateAuthority } from '../ca/certificate-authority.ts';
import { decodeRollover } from '../ca/rollover-codec.ts';
import type { CertificateComponents } from './certificate-components.ts';
import { ensureHubSecret, type HubSecretWish } from './hub-secret.ts';

/** What is asked of the manager each time, because all of it changes. */
export interface RenewalContext {
  readonly caSecret: string;
  readonly rolloverSecret: string;
  wish(): HubSecretWish;
  /** False when the hub Secret is somebody else's, or another CA is stored. */
  mayWrite(): boolean;
  /** Makes what is stored now current. @throws BUNDLE_INVALID */
  adopt(secret: Secret, replaced: string | undefined): Promise<void>;
}

const BACKOFF = { minMs: 1_000, maxMs: 60_000 };

/**
 * Issues the hub certificate anew when it is due, missing or damaged; one attempt at a time, repeated until
 * it succeeds.
 */
export class HubRenewal {
  readonly #components: CertificateComponents;
  readonly #context: RenewalContext;
  readonly #stopped = new AbortController();
  #timer: Timer | undefined;
  #dueAt = Number.POSITIVE_INFINITY;
  #failures = 0;
  #work: Promise<unknown> = Promise.resolve();
  /** Why the last attempt failed; undefined when it did not. */
  problem: string | undefined;

  constructor(components: CertificateComponents, context: RenewalContext) {
    this.#components = components;
    this.#context = context;
  }

  /** Plans an attempt, unless one is due earlier or nothing may be written. */
  planWithin(delayMs: number): void {
    const { clock } = this.#components;
    const dueAt = clock.monotonic() + delayMs;
    if (!this.#context.mayWrite() || this.#stopped.signal.aborted || dueAt >= this.#dueAt) return;
    this.#timer?.cancel();
    this.#dueAt = dueAt;
    // A failure is planned again, logged and shown by #attempt itself.
    this.#timer = clock.setTimeout(() => this.repair().catch(() => {}), delayMs);
  }

  /** Issues the certificate if it needs to be. A failure is repeated with back-off until it succeeds. */
  repair(): Promise<void> {
    return this.#serially(() => this.#attempt());
  }

  /** Issues the certificate whatever the stored one is like; a failure is the caller's. */
  rotate(): Promise<void> {
    return this.#serially(() => this.#issue({ rotate: true }));
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#stopped.abort();
    await this.#work;
  }

  async #attempt(): Promise<void> {
    this.#timer?.cancel();
    this.#dueAt = Number.POSITIVE_INFINITY;
    try {
      await this.#issue({ rotate: false });
      this.#failures = 0;
      this.problem = undefined;
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      const problem = `the hub certificate could not be issued anew: ${describeError(error)}`;
      if (problem !== this.problem)
        this.#components.log.error({ err: error }, 'cannot issue a hub certificate');
      this.problem = problem;
      this.planWithin(backoffDelayMs(this.#failures++, BACKOFF));
      throw error;
    }
  }

  /**
   * Reads the store afresh before it decides, so that nothing is written for what only a late snapshot shows.
   */
  async #issue({ rotate }: { rotate: boolean }): Promise<void> {
    const { rotations } = this.#components.metrics;
    const wish = this.#context.wish();
    try {
      await this.#refuseOtherCa(wish.ca);
      const { secret, replaced } = await ensureHubSecret(
        this.#components,
        { ...wish, rotate },
        this.#stopped.signal,
      );
      await this.#context.adopt(secret, replaced);
      // Otherwise the stored one was good, or another replica was faster.
      if (rotate || replaced !== undefined) rotations.inc({ result: 'success' });
    } catch (error) {
      if (!this.#stopped.signal.aborted) rotations.inc({ result: 'failure' });
      throw error;
    }
  }

  /** Two CAs would take turns in the hub Secret: while another one is stored, this hub writes nothing. */
  async #refuseOtherCa(inUse: CertificateAuthority): Promise<void> {
    const { store, clock } = this.#components;
    const { caSecret: secret, rolloverSecret } = this.#context;
    const [stored, rollover] = await Promise.all([
      store.get(secret, this.#stopped.signal),
      store.get(rolloverSecret, this.#stopped.signal),
    ]);
    if (!stored) return;
    let sha256: string;
    try {
      const own = CertificateAuthority.fromSecret(stored, { clock });
      const { issuing } = resolveCaRoles(own, decodeRollover(rollover, { clock })) ?? { issuing: own };
      ({ sha256 } = issuing.certificate);
    } catch (error) {
      if (isSallyportError(error)) return; // reported where snapshots are evaluated; nobody can issue from it
      throw error;
    }
    if (sha256 === inUse.certificate.sha256) return;
    const problem = `another CA issues by now (${sha256}) than here (${inUse.certificate.sha256})`;
    throw new SallyportError('CA_INVALID', { secret, problem });
  }

  #serially<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#work.then(task);
    this.#work = result.catch(() => {});
    return result;
  }
}
