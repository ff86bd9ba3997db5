import type { ForgottenNodes } from '../../contracts/node-history.ts';

/** For a person: how many, since when, and how long it matters. */
export function describeForgotten({ nodes, since, until }: ForgottenNodes): string {
  const day = (at: string) => at.slice(0, 10);
  const them = nodes === 1 ? 'a node' : `${nodes} nodes`;
  return `the history had to forget ${them} (since ${day(since)}), which may come back until ${day(until)}`;
}
