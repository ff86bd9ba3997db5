import type { LogFields, Logger } from '../../src/core/log.ts';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger that keeps its lines for assertions. */
export function capturedLog(): Logger & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const write = (level: string, base: LogFields) => (fields: LogFields, message: string) =>
    void lines.push({ level, message, fields: { ...base, ...fields } });
  const build = (base: LogFields): Logger & { lines: LogLine[] } => ({
    trace: write('trace', base),
    debug: write('debug', base),
    info: write('info', base),
    warn: write('warn', base),
    error: write('error', base),
    level: 'trace',
    child: (fields) => build({ ...base, ...fields }),
    lines,
  });
  return build({});
}
