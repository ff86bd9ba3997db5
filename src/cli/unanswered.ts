import type { Terminal } from './terminal.ts';

/** Tells on standard error that an answer is not the whole truth. */
export function warnUnanswered(
  terminal: Terminal,
  unanswered: readonly { readonly replica: string; readonly problem: string }[],
  what: string,
): void {
  for (const { replica, problem } of unanswered) {
    const who = replica === '*' ? 'other replicas' : `replica ${replica}`;
    terminal.printError(`warning: ${what} is missing from ${who}: ${problem}`);
  }
}
