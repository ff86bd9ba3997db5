import type { Clock } from './clock.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
export type LogFields = Readonly<Record<string, unknown>>;

/** A constant message plus fields. Never key material, tokens or values of Secrets (requirement A10). */
export interface Logger {
  trace(fields: LogFields, message: string): void;
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  level: string;
  /** For components, made once: children live as long as the logger. */
  child(fields: LogFields): Logger;
}

const nothing = () => {};

/** Writes nothing. */
export const silentLogger: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  level: 'silent',
  child: () => silentLogger,
};

/**
 * Lets one line a key through each period and says with the next how many were held back (requirements B3,
 * I14). Bounded: the oldest keys are forgotten.
 */
export class LogSampler {
  readonly #seen = new Map<string, { until: number; suppressed: number }>();
  readonly #clock: Clock;
  readonly #periodMs: number;
  readonly #maxKeys: number;

  constructor({
    clock,
    periodMs = 60_000,
    maxKeys = 10_000,
  }: { clock: Clock; periodMs?: number; maxKeys?: number }) {
    this.#clock = clock;
    this.#periodMs = periodMs;
    this.#maxKeys = maxKeys;
  }

  /**
   * The number of lines held back since the last one when this one should be written, undefined when it
   * should not.
   */
  pass(key: string): number | undefined {
    const now = this.#clock.monotonic();
    const entry = this.#seen.get(key);
    if (entry && now < entry.until) {
      entry.suppressed++;
      return undefined;
    }
    this.#seen.delete(key);
    this.#seen.set(key, { until: now + this.#periodMs, suppressed: 0 });
    if (this.#seen.size > this.#maxKeys) this.#seen.delete(this.#seen.keys().next().value!);
    return entry?.suppressed ?? 0;
  }
}
