import { Writable } from 'node:stream';
import type { Logger } from '../../src/core/log.ts';
import { createLogger } from '../../src/core/pino-log.ts';

/** A real logger at its most verbose whose lines can be looked at. */
export function captureLog(): { log: Logger; lines: () => string; records: () => Record<string, unknown>[] } {
  const chunks: string[] = [];
  const destination = new Writable({
    write(chunk, _, done) {
      chunks.push(String(chunk));
      done();
    },
  });
  return {
    log: createLogger({ level: 'trace', format: 'json', destination }),
    lines: () => chunks.join(''),
    records: () =>
      chunks
        .join('')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
  };
}
