import { printableLines } from '../core/printable.ts';

/**
 * The only two places commands write to: results on standard output, everything said to a person on standard
 * error.
 */
export function print(text: string): void {
  process.stdout.write(`${printableLines(text)}\n`);
}

export function printError(text: string): void {
  process.stderr.write(`${printableLines(text)}\n`);
}

/** Tells on standard error that an answer is not the whole truth. */
export function warnUnanswered(
  unanswered: readonly { readonly replica: string; readonly problem: string }[],
  what: string,
): void {
  for (const { replica, problem } of unanswered) {
    const who = replica === '*' ? 'other replicas' : `replica ${replica}`;
    printError(`warning: ${what} is missing from ${who}: ${problem}`);
  }
}
