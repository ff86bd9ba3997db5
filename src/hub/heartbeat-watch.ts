/** Nodes remembered; the oldest are forgotten. */
const MAX_NODES = 10_000;
/** How far the silence allowed to a slow node may exceed the configured one. */
const MAX_STRETCH = 4;

/**
 * Edges whose heartbeat is slower than the hub's timeout (I8). Cut off at each timeout, such an edge would
 * return for ever: when a session died of silence before it showed any rhythm and the node comes straight
 * back, it gets more time once, its interval is measured, and from then on its own timeout follows the
 * interval. A node that was regular before is never given more time, so a dead link is noticed as soon as
 * configured (I7).
 */
export class HeartbeatWatch {
  readonly #suspects = new Map<string, number>();
  readonly #intervals = new Map<string, number>();

  /** A session ended for silence. @param beats keepalives it had sent */
  timedOut(node: string, beats: number, now: number): void {
    if (beats <= 1) remember(this.#suspects, node, now);
  }

  /** Silence allowed to a session of this node that begins now, milliseconds. */
  timeoutFor(node: string, timeoutMs: number, now: number): number {
    const interval = this.#intervals.get(node);
    if (interval !== undefined) return Math.max(timeoutMs, Math.min(interval * 1.5, timeoutMs * MAX_STRETCH));
    const suspectSince = this.#suspects.get(node);
    this.#suspects.delete(node);
    return suspectSince !== undefined && now - suspectSince <= timeoutMs
      ? timeoutMs * MAX_STRETCH
      : timeoutMs;
  }

  /** Two keepalives came `intervalMs` apart. @returns true when that is too slow and was not known before */
  measured(node: string, intervalMs: number, timeoutMs: number): boolean {
    const known = this.#intervals.has(node);
    if (intervalMs <= timeoutMs) {
      if (known) this.#intervals.delete(node);
      return false;
    }
    remember(this.#intervals, node, intervalMs);
    return !known;
  }
}

function remember(map: Map<string, number>, node: string, value: number): void {
  map.delete(node);
  map.set(node, value);
  if (map.size > MAX_NODES) map.delete(map.keys().next().value!);
}
