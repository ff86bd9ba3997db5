import { isDeepStrictEqual } from 'node:util';
import { type KnownNode, mergeKnown } from './known-node.ts';
import { type HistoryState, lastSign } from './node-history-codec.ts';

/** Replicas that cannot reach the store for so long may bring a forgotten node back, milliseconds. */
const FORGOTTEN_MS = 7 * 86_400_000;
/** Runs that are remembered, the newest; each takes about 30 bytes. */
const MAX_RUNS = 256;

/** What all places know, without those that were forgotten on purpose. */
export function unite(
  states: readonly HistoryState[],
  forgotten: ReadonlyMap<string, number>,
): ReadonlyMap<string, KnownNode> {
  const nodes = new Map<string, KnownNode>();
  for (const state of states)
    for (const [node, known] of state.nodes) {
      const before = nodes.get(node);
      if (lastSign(known) >= (forgotten.get(node) ?? 0))
        nodes.set(node, before ? mergeKnown(before, known) : known);
    }
  return nodes;
}

/** The latest time of each. */
export function latest(times: readonly (readonly [string, number])[]): ReadonlyMap<string, number> {
  return new Map([...times].sort(([, a], [, b]) => a - b));
}

/** What is stored with the news in it; the very same when nothing is new. */
export function mergeNews(
  stored: HistoryState,
  news: {
    readonly nodes: readonly (readonly [string, KnownNode])[];
    readonly forgotten?: ReadonlyMap<string, number>;
    /** As they were when they were seen to be stored elsewhere. */
    readonly gone: Iterable<readonly [string, KnownNode]>;
    /** Nodes that an administrator has had forgotten at any replica, and when. */
    readonly elsewhere: ReadonlyMap<string, number>;
  },
  now: number,
): HistoryState {
  const nodes = new Map(stored.nodes);
  const forgotten = new Map([...stored.forgotten].filter(([, at]) => now - at < FORGOTTEN_MS));
  let changed = false;
  for (const [node, known] of news.gone)
    if (isDeepStrictEqual(nodes.get(node), known)) changed = nodes.delete(node) || changed;
  for (const [node, at] of news.forgotten ?? []) {
    nodes.delete(node);
    forgotten.set(node, at);
    changed = true;
  }
  for (const [node, known] of news.nodes) {
    // To the minute, as it is stored.
    if (lastSign(known) < Math.max(forgotten.get(node) ?? 0, news.elsewhere.get(node) ?? 0)) continue;
    forgotten.delete(node);
    const before = nodes.get(node);
    const merged = before ? mergeKnown(before, known) : known;
    if (isDeepStrictEqual(merged, before)) continue;
    nodes.set(node, merged);
    changed = true;
  }
  return changed ? { ...stored, nodes, forgotten } : stored;
}

/** The newest ones. */
export function withRun(
  runs: ReadonlyMap<string, number>,
  { id, at }: { readonly id: string; readonly at: number },
): ReadonlyMap<string, number> {
  const newest = [...runs, [id, at] as const].sort(([, a], [, b]) => b - a).slice(0, MAX_RUNS);
  return new Map(newest.reverse());
}
