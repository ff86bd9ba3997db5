import { Writable } from 'node:stream';
import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino';
import pretty from 'pino-pretty';
import { describeError, SallyportError } from './errors.ts';
import type { LogFields, Logger, LogLevel } from './log.ts';
import { printableLines } from './printable.ts';

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
  const out = destination ?? pino.destination({ dest: 2, sync: true });
  const write = (line: string) => out.write(printableLines(line));
  const stream =
    format === 'pretty'
      ? pretty({
          destination: new Writable({
            write: (line, _encoding, done) => {
              write(String(line));
              done();
            },
          }),
          colorize: !process.env.NO_COLOR,
          ignore: 'pid,hostname',
          singleLine: true,
          sync: true,
        })
      : { write };
  const root: PinoLogger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED, censor: '[redacted]' },
      serializers: {
        err: (error: unknown) =>
          root.isLevelEnabled('debug') || isFault(error)
            ? pino.stdSerializers.errWithCause(error as Error)
            : shortly(error),
      },
    },
    stream,
  );
  return new FamilyLogger(root, [root]);
}

/** Whether a program is at fault, or nobody knows: only then a stack says more than the text. */
function isFault(error: unknown): boolean {
  if (error instanceof SallyportError) return error.code === 'INTERNAL' || isMistake(error.cause);
  // Systems and libraries give a code to what is expected to happen.
  return isMistake(error) || (error instanceof Error && (error as NodeJS.ErrnoException).code === undefined);
}

const isMistake = (error: unknown) =>
  error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;

function shortly(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, fix } = error as Partial<SallyportError>;
  return { code, message: describeError(error), fix };
}

/**
 * A child of pino's keeps the level it was born with; a family has one level, because it can change while a
 * gateway runs.
 */
class FamilyLogger implements Logger {
  readonly #own: PinoLogger;
  readonly #family: PinoLogger[];

  constructor(own: PinoLogger, family: PinoLogger[]) {
    this.#own = own;
    this.#family = family;
  }

  get level(): string {
    return this.#own.level;
  }

  set level(next: string) {
    for (const logger of this.#family) logger.level = next;
  }

  trace(fields: LogFields, message: string): void {
    this.#own.trace(fields, message);
  }

  debug(fields: LogFields, message: string): void {
    this.#own.debug(fields, message);
  }

  info(fields: LogFields, message: string): void {
    this.#own.info(fields, message);
  }

  warn(fields: LogFields, message: string): void {
    this.#own.warn(fields, message);
  }

  error(fields: LogFields, message: string): void {
    this.#own.error(fields, message);
  }

  child(fields: LogFields): Logger {
    const child = this.#own.child(fields);
    this.#family.push(child);
    return new FamilyLogger(child, this.#family);
  }
}
