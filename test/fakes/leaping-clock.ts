import { type Clock, systemClock } from '../../src/core/clock.ts';

/** The system's clocks, until it is told to be further on. Timers keep the system's time. */
export class LeapingClock implements Clock {
  #aheadMs = 0;
  readonly setTimeout = systemClock.setTimeout;
  readonly setInterval = systemClock.setInterval;
  readonly sleep = systemClock.sleep;

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  monotonic(): number {
    return systemClock.monotonic() + this.#aheadMs;
  }

  leap(ms: number): void {
    this.#aheadMs += ms;
  }
}
