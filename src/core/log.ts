import { type DestinationStream, pino } from 'pino';
import pretty from 'pino-pretty';
import type { Clock } from './clock.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
export type LogFields = Readonly<Record<string, unknown>>;
type Write = (fields: LogFields, message: string) => void;

/** A constant message plus fields. Never key material, tokens or values of Secrets (requirement A10). */
export interface Logger {
  readonly trace: Write;
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
  level: string;
  child(fields: LogFields): Logger;
}

/** Defence in depth: should a field of such a name ever be logged, its value is not. */
const REDACTED = [
  'key',
  'privateKey',
  'token',
  'authorization',
  'cakeydata',
  'cloudcorekeydata',
  'tokendata',
  'tls.key',
].flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]);

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: 'json' | 'pretty';
  /** Where lines go; standard error by default, because standard output belongs to the commands. */
  readonly destination?: DestinationStream;
}

export function createLogger({ level, format, destination }: LoggerOptions): Logger {
  const raw = destination ?? pino.destination({ dest: 2, sync: true });
  const stream =
    format === 'pretty'
      ? pretty({ destination: raw, colorize: !process.env.NO_COLOR, ignore: 'pid,hostname', sync: true })
      : raw;
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED, censor: '[redacted]' },
      serializers: { err: pino.stdSerializers.errWithCause },
    },
    stream,
  ) as unknown as Logger;
}

export const silentLogger: Logger = pino({ level: 'silent' }) as unknown as Logger;

/**
 * Lets one line a key through each period and says with the next how many were held back (requirements B3, I14). Bounded: the
 * oldest keys are forgotten.
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

  /** The number of lines held back since the last one when this one should be written, undefined when it should not. */
  pass(key: string): number | undefined {
    const now = this.#clock.now();
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
