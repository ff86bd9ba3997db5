import type { CertificateBundle, CertificateSource } from '../contracts/certificate-source.ts';
import type { Listener } from '../contracts/listener.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import { Subscribers } from '../core/subscribers.ts';
import { closeReason } from '../protocol/close-reasons.ts';

export interface ListenerGroupComponents {
  readonly source: CertificateSource;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'servedMatchesWanted'>;
}

/** How often a listener that could not take a bundle is asked again, milliseconds. */
const RETRY_MS = 10_000;

/**
 * All listeners as one component: started together, given every new bundle in parallel, stopped together. A
 * listener that cannot take a bundle keeps its old one, is asked again, and is named by {@link drift} until
 * it has it.
 */
export class ListenerGroup implements Component {
  readonly name = 'listeners';
  readonly #components: ListenerGroupComponents;
  readonly #started: Listener[] = [];
  readonly #listeners: Listener[] = [];
  readonly #applied = new Subscribers<void>();
  #unsubscribe: Unsubscribe | undefined;
  #retry: Timer | undefined;

  constructor(components: ListenerGroupComponents) {
    this.#components = components;
  }

  /** In the order they start. */
  get listeners(): readonly Listener[] {
    return this.#listeners;
  }

  /** Before {@link start}. */
  add(...listeners: readonly Listener[]): void {
    this.#listeners.push(...listeners);
  }

  /**
   * @throws LISTEN_FAILED of the first listener that cannot bind; the others are stopped again by the
   * lifecycle
   */
  async start(): Promise<void> {
    for (const listener of this.#listeners) {
      await listener.start();
      this.#started.push(listener);
    }
    const { source, clock } = this.#components;
    this.#unsubscribe = source.onChange((next) => void this.#apply(next, this.#started));
    this.#retry = clock.setInterval(() => void this.#apply(source.current(), this.drift()), RETRY_MS);
    // A bundle may have changed while the listeners were binding.
    await this.#apply(source.current(), this.drift());
  }

  /** Those that listen. */
  get started(): readonly Listener[] {
    return this.#started;
  }

  /** Told each time after the listeners were given a bundle, whether they could take it or not. */
  onApplied(listener: () => void): Unsubscribe {
    return this.#applied.subscribe(listener);
  }

  /** Listeners whose new handshakes do not get the wanted bundle. */
  drift(): readonly Listener[] {
    const wanted = this.#components.source.current().fingerprint;
    return this.#started.filter((listener) => listener.servedFingerprint() !== wanted);
  }

  /**
   * Lets no new session begin. HTTPS and admin go on, so that probes see a process that lives and is not
   * ready (requirement H2).
   */
  stopSessions(signal: AbortSignal): Promise<void> {
    return this.#stop(
      this.#started.filter(({ name }) => name !== 'https' && name !== 'admin'),
      signal,
    );
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.#unsubscribe?.();
    this.#retry?.cancel();
    await this.#stop(this.#started, signal);
  }

  async #stop(listeners: readonly Listener[], signal: AbortSignal): Promise<void> {
    const reason = closeReason('Draining');
    const results = await Promise.allSettled(listeners.map((listener) => listener.stop(reason, signal)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw new SallyportError('INTERNAL', {}, failed.reason);
  }

  async #apply(next: CertificateBundle, listeners: readonly Listener[]): Promise<void> {
    const { log, metrics } = this.#components;
    await Promise.all(
      listeners.map(async (listener) => {
        try {
          await listener.applyBundle(next);
        } catch (error) {
          log.error(
            { listener: listener.name, problem: describeError(error) },
            'listener keeps its old bundle: it cannot serve the new one',
          );
        }
      }),
    );
    const wanted = this.#components.source.current().fingerprint;
    for (const listener of this.#started) {
      metrics.servedMatchesWanted.set(
        { listener: listener.name },
        listener.servedFingerprint() === wanted ? 1 : 0,
      );
    }
    if (listeners.length > 0) this.#applied.tell();
  }
}
