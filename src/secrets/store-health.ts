import type { Clock } from '../core/clock.ts';
import { describeError, isSallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';

export interface StoreComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<
    Metrics,
    'storeUp' | 'storeErrors' | 'storeLastSync' | 'storeWatchUp' | 'storeCallsAbandoned'
  >;
}

/**
 * Keeps the metrics of a secret store true, and tells the log when the store goes away and when it is back.
 */
export class StoreHealth {
  readonly #components: StoreComponents;
  readonly #sampler: LogSampler;
  #isUp: boolean | undefined;
  #downSince: string | undefined;

  constructor(components: StoreComponents) {
    this.#components = components;
    this.#sampler = new LogSampler({ clock: components.clock });
  }

  /** For `SecretStore.problem`. A stranger may read it: no path, no address. */
  problem(): string | undefined {
    return this.#downSince && `the secret store cannot be used since ${this.#downSince}`;
  }

  succeeded(): void {
    this.#downSince = undefined;
    if (this.#isUp === false && this.#sampler.pass('up') !== undefined)
      this.#components.log.info({}, 'the secret store answers again');
    this.#isUp = true;
    this.#components.metrics.storeUp.set(1);
  }

  /** Everything that was asked for has been read in full. */
  synced(): void {
    this.succeeded();
    this.#components.metrics.storeLastSync.set(this.#components.clock.now() / 1000);
  }

  /** @param watch what is watched: a Secret, or the folder */
  watching(watch: string, isUp: boolean): void {
    this.#components.metrics.storeWatchUp.set({ watch }, isUp ? 1 : 0);
  }

  /** Answers such as "already exists" are no failures of the store. */
  failed(error: unknown): void {
    if (isSallyportError(error, 'SECRET_ALREADY_EXISTS', 'SECRET_CONFLICT', 'SECRET_NOT_FOUND')) {
      this.succeeded();
      return;
    }
    const { log, metrics } = this.#components;
    metrics.storeErrors.inc({ code: isSallyportError(error) ? error.code : 'INTERNAL' });
    if (isSallyportError(error, 'SECRET_MALFORMED')) return;
    metrics.storeUp.set(0);
    if (this.#isUp !== false) log.warn({ problem: describeError(error) }, 'the secret store cannot be used');
    this.#isUp = false;
    this.#downSince ??= new Date(this.#components.clock.now()).toISOString();
  }
}
