import type { Clock, Timer } from '../core/clock.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { FairTurns } from './fair-turns.ts';
import { RateBudget, type RateOptions } from './rate-budget.ts';

/** One line a node in this time, milliseconds. */
const LOG_MS = 5 * 60_000;
/** A shorter wait is not worth a timer: the node saves up the rest. */
const MIN_WAIT_MS = 10;

/** What the throttles of all sessions share. */
export class Throttles {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly rate: () => RateOptions;
  readonly turns = new FairTurns();
  readonly #log: Logger;
  readonly #sampler: LogSampler;
  /** Of nodes that have gone, until they are full: who connects again gets no new one. */
  readonly #left = new Map<string, RateBudget>();

  constructor(
    { clock, log, metrics }: { clock: Clock; log: Logger; metrics: Metrics },
    rate: () => RateOptions,
  ) {
    this.clock = clock;
    this.metrics = metrics;
    this.rate = rate;
    this.#log = log;
    this.#sampler = new LogSampler({ clock, periodMs: LOG_MS });
  }

  /** For a session that begins. */
  of(node: string): Throttle {
    const budget = this.#left.get(node) ?? new RateBudget();
    this.#left.delete(node);
    return new Throttle(this, node, budget);
  }

  /** A session has ended. */
  leave(node: string, budget: RateBudget): void {
    this.#left.set(node, budget);
  }

  /** Called about once a second. */
  sweep(now: number): void {
    for (const [node, budget] of this.#left) if (budget.isFull(now)) this.#left.delete(node);
  }

  tell(node: string, fields: { readonly limit: string; readonly waitMs: number }): void {
    const suppressed = this.#sampler.pass(node);
    if (suppressed === undefined) return;
    this.#log.warn(
      { node, ...fields, suppressed },
      'a node sends more than hub.rate allows: it is read slowly',
    );
  }
}

/**
 * Holds a node back that sends more than it may, by not reading on. It is never closed for it, and nothing is
 * lost.
 */
export class Throttle {
  /** How long its session was held back, milliseconds. */
  heldBackMs = 0;
  readonly #shared: Throttles;
  readonly #node: string;
  readonly #budget: RateBudget;
  readonly #use = { turn: 0, messages: 0 };
  #timer: Timer | undefined;

  constructor(shared: Throttles, node: string, budget: RateBudget) {
    this.#shared = shared;
    this.#node = node;
    this.#budget = budget;
  }

  /** @returns undefined when a message of so many bytes may come in, else when it may */
  grant(bytes: number): undefined | Promise<void> {
    const { clock, rate, turns } = this.#shared;
    const wait = this.#budget.take(bytes, clock.monotonic(), rate());
    return wait ? this.#hold(wait.limit, Math.max(wait.waitMs, MIN_WAIT_MS)) : turns.count(this.#use);
  }

  end(): void {
    this.#timer?.cancel();
    this.#shared.leave(this.#node, this.#budget);
  }

  #hold(limit: string, waitMs: number): Promise<void> {
    this.heldBackMs += waitMs;
    this.#shared.metrics.heldBackSeconds.inc({ limit }, waitMs / 1_000);
    this.#shared.tell(this.#node, { limit, waitMs });
    return new Promise((resolve) => {
      this.#timer = this.#shared.clock.setTimeout(resolve, waitMs);
    });
  }
}
