import type { Logger, LogLevel } from '../core/log.ts';
import { createLogger } from '../core/pino-log.ts';
import type { Terminal } from './terminal.ts';

/** A log on standard error, made for a person where one looks at it. */
export function terminalLog(
  { stderr }: Terminal,
  level: LogLevel,
  format: 'auto' | 'json' | 'pretty' = 'auto',
): Logger {
  return createLogger({
    level,
    format: format === 'auto' ? (stderr.isTTY ? 'pretty' : 'json') : format,
    // The standard error of this process is written to synchronously: its last lines must not be lost.
    ...(stderr === process.stderr ? {} : { destination: stderr }),
  });
}
