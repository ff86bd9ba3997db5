import type { Clock, Timer } from '../core/clock.ts';
import type { LogFields, Logger } from '../core/log.ts';

/** How many lines of one kind a second may have. Beyond that nobody reads them one by one. */
const LINES_A_SECOND = 10;
const SECOND_MS = 1_000;

interface LogParts {
  readonly clock: Clock;
  readonly log: Logger;
}

interface Came extends LogFields {
  readonly node: string;
  readonly session: string;
  readonly transport: string;
  readonly remoteAddress: string;
}

interface Went extends LogFields {
  readonly node: string;
  readonly session: string;
  readonly transport: string;
  /** Name of the close reason. */
  readonly reason: string;
}

/** Who comes and goes: a line for each, and when many do at once a line a second for all of them. */
export class SessionLog {
  readonly #came: Crowd;
  readonly #went: Crowd;

  constructor(parts: LogParts) {
    this.#came = new Crowd(parts, 'connected');
    this.#went = new Crowd(parts, 'disconnected');
  }

  connected(fields: Came): void {
    this.#came.tell(fields);
  }

  disconnected(fields: Went): void {
    this.#went.tell(fields);
  }

  /** Says what the current second would have said at its end. */
  stop(): void {
    this.#came.stop();
    this.#went.stop();
  }
}

class Crowd {
  readonly #parts: LogParts;
  readonly #what: string;
  /** Until the second ends in which somebody was told of; undefined while nothing happens. */
  #second: Timer | undefined;
  /** Whether the second before had too many. */
  #crowded = false;
  #nodes = 0;
  #transports: Record<string, number> = {};
  #reasons: Record<string, number> = {};

  constructor(parts: LogParts, what: 'connected' | 'disconnected') {
    this.#parts = parts;
    this.#what = what;
  }

  tell(fields: Came | Went): void {
    this.#second ??= this.#nextSecond();
    this.#nodes++;
    count(this.#transports, fields.transport);
    if ('reason' in fields) count(this.#reasons, fields.reason as string);
    const level = this.#crowded || this.#nodes > LINES_A_SECOND ? 'debug' : 'info';
    this.#parts.log[level](fields, `node ${this.#what}`);
  }

  stop(): void {
    this.#second?.cancel();
    this.#endSecond();
  }

  #nextSecond(): Timer {
    return this.#parts.clock.setTimeout(() => {
      this.#endSecond();
      if (this.#crowded) this.#second = this.#nextSecond();
    }, SECOND_MS);
  }

  #endSecond(): void {
    const [nodes, transports, reasons] = [this.#nodes, this.#transports, this.#reasons];
    const isCrowd = nodes > LINES_A_SECOND;
    if (isCrowd || (this.#crowded && nodes > 0)) {
      const why = Object.keys(reasons).length > 0 ? { reasons } : {};
      this.#parts.log.info({ nodes, transports, ...why }, `nodes ${this.#what} in the last second`);
    }
    this.#crowded = isCrowd;
    this.#second = undefined;
    this.#nodes = 0;
    this.#transports = {};
    this.#reasons = {};
  }
}

function count(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}
