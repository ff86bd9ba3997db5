import type { KnownNode } from './known-node.ts';
import { encodeHistory, type HistoryState, type LostNodes, lastSign } from './node-history-codec.ts';

/** What a Secret has room for. */
export interface HistoryRoom {
  readonly maxBytes: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** How long after its end a certificate may be renewed, milliseconds. */
  readonly graceMs: number;
}

export interface FittedHistory {
  readonly bytes: Uint8Array;
  /** What of it is in the bytes. */
  readonly state: HistoryState;
  readonly dropped: readonly string[];
}

/**
 * Bounded by `maxBytes`. When the nodes do not fit, those go first whose certificate is good for nothing any
 * more, then those that were not seen for longest. The latter are counted in `lost`, in the same write: a
 * node is never missing without a word about it.
 */
export async function fitHistory(state: HistoryState, room: HistoryRoom): Promise<FittedHistory> {
  const { maxBytes, now, graceMs } = room;
  const isOver = state.lost && now >= state.lost.until + graceMs;
  let byWorth: [string, KnownNode][] | undefined;
  let fitted: FittedHistory = { bytes: await encodeHistory(state), state, dropped: [] };
  while (fitted.bytes.length > maxBytes && fitted.state.nodes.size > 0) {
    byWorth ??= [...state.nodes].sort(
      ([, a], [, b]) =>
        Number(isSpent(a, now - graceMs)) - Number(isSpent(b, now - graceMs)) || lastSign(b) - lastSign(a),
    );
    const { size } = fitted.state.nodes;
    // A little room at once, so that a full history is not packed twice with every node that comes.
    const fits = Math.min(Math.floor((size * maxBytes * 0.98) / fitted.bytes.length), size - 1);
    const dropped = byWorth.slice(fits);
    const lost = mergeLost(
      isOver ? undefined : state.lost,
      lostOf(
        dropped.map(([, known]) => known),
        room,
      ),
    );
    const kept = { ...state, nodes: new Map(byWorth.slice(0, fits)), ...(lost ? { lost } : {}) };
    fitted = {
      bytes: await encodeHistory(kept),
      state: kept,
      dropped: dropped.map(([node]) => node),
    };
  }
  return fitted;
}

/** The certificate that it would come back with ended before `at`. */
function isSpent(known: KnownNode, at: number): boolean {
  return endOf(known) < at;
}

const endOf = ({ certificate, issued }: KnownNode) => Math.max(certificate.notAfter, issued?.notAfter ?? 0);

function lostOf(dropped: readonly KnownNode[], { now, graceMs }: HistoryRoom): LostNodes | undefined {
  const missed = dropped.filter((known) => !isSpent(known, now - graceMs));
  if (missed.length === 0) return undefined;
  return { nodes: missed.length, since: now, until: Math.max(...missed.map(endOf)) };
}

export function mergeLost(a: LostNodes | undefined, b: LostNodes | undefined): LostNodes | undefined {
  if (!a || !b) return a ?? b;
  return {
    nodes: a.nodes + b.nodes,
    since: Math.min(a.since, b.since),
    until: Math.max(a.until, b.until),
  };
}
