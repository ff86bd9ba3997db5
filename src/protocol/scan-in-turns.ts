import type { JsonScanner } from './json-scan.ts';

/**
 * Bytes scanned in one turn of the event loop: about a millisecond of work. All who scan take turns, so that
 * many large messages hold others up no longer than one.
 */
export const SHARE_BYTES = 256 * 1024;

/** Scans to the end, a share at a time, with other work between. @throws as {@link JsonScanner.scan} */
export async function scanInTurns(scanner: JsonScanner): Promise<void> {
  while (!scanner.scan(SHARE_BYTES)) await nextTurn();
}

const waiting: (() => void)[] = [];

/** Resolves in a turn of the event loop in which nobody else is resolved. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(callNext);
  });
}

function callNext(): void {
  waiting.shift()!();
  if (waiting.length > 0) setImmediate(callNext);
}
