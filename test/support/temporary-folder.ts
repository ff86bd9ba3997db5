import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A new folder for a test, a hook or a file. It goes with the run, so nobody has to remove it. */
export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'sallyport-'));
}

let ofRun: string;

/** By Vitest before a run: its temporary files, and those of its processes, are all in one folder. */
export function setup(): void {
  ofRun = temporaryFolder();
  // Some tests act as another user for a while.
  chmodSync(ofRun, 0o711);
  process.env.TMPDIR = ofRun;
}

export function teardown(): void {
  // Processes that tests have killed may still be ending.
  rmSync(ofRun, { recursive: true, force: true, maxRetries: 10 });
}
