import type { Clock, Timer } from '../../src/core/clock.ts';

export interface ClockEntry {
  due: number;
  readonly fn: () => void;
  readonly periodMs: number | undefined;
}

/** A clock that moves only when told to. Timers fire in the order they are due. */
export class ManualClock implements Clock {
  protected time: number;
  readonly #start: number;
  #jumped = 0;
  protected readonly entries = new Set<ClockEntry>();

  constructor(start: number | Date = Date.UTC(2026, 0, 1)) {
    this.time = Number(start);
    this.#start = this.time;
  }

  now(): number {
    return this.time + this.#jumped;
  }

  /** It begins at 0, as that of a process: who mixes the clocks up, or takes 0 for never, is found out. */
  monotonic(): number {
    return this.time - this.#start;
  }

  /** Moves the wall clock alone, forwards or back, as NTP and administrators do. */
  jump(ms: number): void {
    this.#jumped += ms;
  }

  setTimeout(fn: () => void, delayMs: number): Timer {
    return this.#add({ due: this.time + Math.max(0, delayMs), fn, periodMs: undefined });
  }

  setInterval(fn: () => void, periodMs: number): Timer {
    return this.#add({ due: this.time + periodMs, fn, periodMs });
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const timer = this.setTimeout(resolve, delayMs);
      signal?.addEventListener('abort', () => {
        timer.cancel();
        reject(signal.reason);
      });
    });
  }

  /** How many timers are armed: nothing may be left after a stop. */
  get pending(): number {
    return this.entries.size;
  }

  /** Moves time forward, firing what falls due, and lets promises settle after each timer. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await settle();
    for (;;) {
      const next = [...this.entries].sort((a, b) => a.due - b.due)[0];
      if (!next || next.due > end) break;
      this.time = next.due;
      if (next.periodMs === undefined) this.entries.delete(next);
      else next.due += next.periodMs;
      next.fn();
      await settle();
    }
    this.time = end;
    await settle();
  }

  #add(entry: ClockEntry): Timer {
    this.entries.add(entry);
    return { cancel: () => this.entries.delete(entry) };
  }
}

/** Lets promises and finished I/O callbacks run. */
export async function settle(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}
