import type { Logger } from '../core/log.ts';

const nothing = () => {};

/**
 * Writes nothing. Not `silentLogger` of core, which brings a logging library (12 MB resident) that most edges
 * never use.
 */
export const noLog: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  level: 'silent',
  child: () => noLog,
};
