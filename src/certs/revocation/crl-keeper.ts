import type { CrlSource } from '../../contracts/revocations.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import type { Component } from '../../core/lifecycle.ts';
import type { Logger } from '../../core/log.ts';

/** How often the CRL is looked at, milliseconds: a new one is due each hour. */
const PERIOD_MS = 15 * 60_000;

/**
 * Has the CRL signed though nobody fetches it, so that its metric tells of trouble before somebody needs the
 * CRL.
 */
export class CrlKeeper implements Component {
  readonly name = 'crl';
  readonly #components: { readonly clock: Clock; readonly log: Logger; readonly crl: CrlSource };
  #timer: Timer | undefined;

  constructor(components: { readonly clock: Clock; readonly log: Logger; readonly crl: CrlSource }) {
    this.#components = components;
  }

  async start(): Promise<void> {
    this.#timer = this.#components.clock.setInterval(() => void this.#sign(), PERIOD_MS);
    await this.#sign();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
  }

  async #sign(): Promise<void> {
    const { crl, log } = this.#components;
    try {
      await crl.current();
    } catch (error) {
      // A CA that may not sign one is no failure: the metric says 0, and `/ca.crl` the reason.
      if (isSallyportError(error, 'CRL_UNAVAILABLE')) return;
      log.error({ problem: describeError(error) }, 'the CRL could not be signed');
    }
  }
}
