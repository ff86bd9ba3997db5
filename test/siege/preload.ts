/**
 * Preloaded into a besieged gateway (`--import`), before anything of it runs. Node raises its soft limit of
 * open files by itself, so the hard one is lowered here. Its wall clock is that of the system and what a file
 * says, milliseconds: timers and the monotonic clock stay what they are, as when NTP sets the time.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const { SIEGE_CLOCK: clock, SIEGE_OPEN_FILES: files } = process.env;
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

if (files) execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${files}:${files}`]);
if (clock) {
  globalThis.Date = ShiftedDate as DateConstructor;
  setInterval(() => {
    shift = Number(readFileSync(clock, 'utf8'));
  }, 50).unref();
}
