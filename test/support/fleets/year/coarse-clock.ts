import { ManualClock, settle } from '../../../fakes/manual-clock.ts';

/**
 * A clock for long simulations: it moves in steps, and what falls due every few seconds happens once a step,
 * at its end. What is awaited once happens at its own time.
 */
export class CoarseClock extends ManualClock {
  async step(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      const due = [...this.entries].filter((entry) => entry.periodMs === undefined && entry.due <= end);
      const next = due.sort((a, b) => a.due - b.due)[0];
      if (!next) break;
      this.time = Math.max(this.time, next.due);
      this.entries.delete(next);
      next.fn();
      await settle(3);
    }
    this.time = end;
    for (const entry of this.entries) {
      if (entry.periodMs === undefined || entry.due > end) continue;
      entry.due = end + entry.periodMs;
      entry.fn();
    }
    await settle(10);
  }
}
