import { isDeepStrictEqual } from 'node:util';
import { type KnownNode, mergeKnown } from './known-node.ts';
import { type HistoryState, lastSign } from './node-history-codec.ts';

type Nodes = Map<string, KnownNode>;

/** Place → nodes. */
export interface Moves {
  /** They are elsewhere, and the place does not know as much of them yet. */
  readonly incoming: ReadonlyMap<number, Nodes>;
  /** They belong elsewhere, and are known there. */
  readonly leaving: ReadonlyMap<number, Nodes>;
}

/** What moves from one place to another, for these two states. */
interface Pair {
  readonly from: HistoryState;
  readonly to: HistoryState;
  readonly forgotten: ReadonlyMap<string, number>;
  readonly incoming: readonly (readonly [string, KnownNode])[];
  readonly leaving: readonly (readonly [string, KnownNode])[];
}

/**
 * By the FNV-1a hash of the name, which is ASCII: 0 is the first Secret, which has all nodes while there are
 * no shards. It has to be the same in every version.
 */
export function placeOf(node: string, shards: number): number {
  if (shards === 0) return 0;
  let hash = 0x811c9dc5;
  for (let i = 0; i < node.length; i++) hash = Math.imul(hash ^ node.charCodeAt(i), 0x01000193);
  return 1 + ((hash >>> 0) % shards);
}

/**
 * Finds nodes that are in a place that is not theirs. What was found for two states is kept until one of them
 * changes, so that a move of thousands costs one look at each and not one a write.
 */
export class HistoryStrays {
  readonly #byHome = new WeakMap<HistoryState, { shards: number; nodes: ReadonlyMap<number, string[]> }>();
  #pairs: ReadonlyMap<string, Pair> = new Map();

  /** @param states by place @param forgotten on purpose: node → moment */
  find(states: readonly HistoryState[], forgotten: ReadonlyMap<string, number>): Moves {
    const pairs = new Map<string, Pair>();
    const moves = { incoming: new Map<number, Nodes>(), leaving: new Map<number, Nodes>() };
    states.forEach((from, place) => {
      for (const [home, nodes] of this.#homesOf(from, { place, shards: states.length - 1 })) {
        const key = `${place} ${home}`;
        const to = states[home]!;
        const before = this.#pairs.get(key);
        const isSame = before?.from === from && before.to === to && before.forgotten === forgotten;
        const pair = isSame ? before : compare(nodes, { from, to, forgotten });
        pairs.set(key, pair);
        add(moves.incoming, home, pair.incoming);
        add(moves.leaving, place, pair.leaving);
      }
    });
    this.#pairs = pairs;
    return moves;
  }

  /** Home → the nodes of it that are here; nobody who is at home. */
  #homesOf(state: HistoryState, { place, shards }: { place: number; shards: number }) {
    const known = this.#byHome.get(state);
    if (known?.shards === shards) return known.nodes;
    const nodes = new Map<number, string[]>();
    for (const node of shards === 0 ? [] : state.nodes.keys()) {
      const home = placeOf(node, shards);
      if (home === place) continue;
      const others = nodes.get(home);
      if (others) others.push(node);
      else nodes.set(home, [node]);
    }
    this.#byHome.set(state, { shards, nodes });
    return nodes;
  }
}

function compare(
  nodes: readonly string[],
  { from, to, forgotten }: Omit<Pair, 'incoming' | 'leaving'>,
): Pair {
  const all = nodes.map((node) => [node, from.nodes.get(node)!] as const);
  const isKnownThere = ([node, known]: readonly [string, KnownNode]) => {
    if (lastSign(known) < (forgotten.get(node) ?? 0)) return true;
    const there = to.nodes.get(node);
    return there !== undefined && isDeepStrictEqual(mergeKnown(there, known), there);
  };
  const { leaving = [], incoming = [] } = Object.groupBy(all, (one) =>
    isKnownThere(one) ? 'leaving' : 'incoming',
  );
  return { from, to, forgotten, incoming, leaving };
}

function add(side: Map<number, Nodes>, place: number, nodes: Pair['incoming']): void {
  if (nodes.length === 0) return;
  const all = side.get(place) ?? new Map<string, KnownNode>();
  side.set(place, all);
  for (const [node, known] of nodes) {
    const before = all.get(node);
    all.set(node, before ? mergeKnown(before, known) : known);
  }
}
