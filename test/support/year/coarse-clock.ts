import type { Clock, Timer } from '../../../src/core/clock.ts';
import { settle } from '../../fakes/manual-clock.ts';

interface Entry {
  due: number;
  readonly fn: () => void;
  readonly periodMs: number | undefined;
}

/**
 * A clock for long simulations: it moves in steps, and what falls due every few seconds happens once a step, at its end. What is awaited once
 * happens at its own time.
 */
export class CoarseClock implements Clock {
  #now: number;
  readonly #entries = new Set<Entry>();

  constructor(start: number) {
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  setTimeout(fn: () => void, delayMs: number): Timer {
    return this.#add({ due: this.#now + Math.max(0, delayMs), fn, periodMs: undefined });
  }

  setInterval(fn: () => void, periodMs: number): Timer {
    return this.#add({ due: this.#now + periodMs, fn, periodMs });
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

  async step(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#entries].filter((entry) => entry.periodMs === undefined && entry.due <= end);
      const next = due.sort((a, b) => a.due - b.due)[0];
      if (!next) break;
      this.#now = Math.max(this.#now, next.due);
      this.#entries.delete(next);
      next.fn();
      await settle(3);
    }
    this.#now = end;
    for (const entry of this.#entries) {
      if (entry.periodMs === undefined || entry.due > end) continue;
      entry.due = end + entry.periodMs;
      entry.fn();
    }
    await settle(10);
  }

  #add(entry: Entry): Timer {
    this.#entries.add(entry);
    return { cancel: () => this.#entries.delete(entry) };
  }
}
