/**
 * Preloaded into a gateway (`--import`): its wall clock is that of the system and what the file named by
 * SIEGE_CLOCK says, milliseconds. Timers and the monotonic clock stay what they are, as when an administrator
 * or NTP sets the time.
 */
import { readFileSync } from 'node:fs';

const file = process.env.SIEGE_CLOCK;
const SystemDate = Date;
let shift = 0;

class ShiftedDate extends SystemDate {
  constructor(...given: readonly unknown[]) {
    if (given.length === 0) super(SystemDate.now() + shift);
    else super(...(given as [number]));
  }

  static override now(): number {
    return SystemDate.now() + shift;
  }
}

if (file) {
  globalThis.Date = ShiftedDate as DateConstructor;
  setInterval(() => {
    shift = Number(readFileSync(file, 'utf8'));
  }, 50).unref();
}
