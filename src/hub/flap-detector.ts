import type { Clock } from '../core/clock.ts';

export interface FlapOptions {
  readonly flapWindowMs: number;
  readonly flapThreshold: number;
}

/**
 * Take-overs that follow each other faster count once: one device that retries in a burst is no second device
 * (G3, I12).
 */
const BURST_MS = 1_000;
/** First time a newcomer is held off; doubles each time, up to the window. */
const FIRST_HOLD_MS = 5_000;
/** Nodes remembered; the oldest are forgotten. */
const MAX_NODES = 10_000;

interface Record {
  takeovers: number[];
  holds: number;
  heldUntil: number;
}

/**
 * Notices two devices that share a certificate and keep taking the session from each other (G4). From the
 * threshold on, newcomers are held off for a while, so that one of the two works; the hold is bounded, and
 * the hub applies it only while the present session is alive, so that a node can always come back.
 */
export class FlapDetector {
  readonly #clock: Clock;
  readonly #options: () => FlapOptions;
  readonly #records = new Map<string, Record>();

  constructor(clock: Clock, options: () => FlapOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  /** @returns true when the node flaps */
  takenOver(node: string): boolean {
    const now = this.#clock.monotonic();
    const { flapWindowMs, flapThreshold } = this.#options();
    const record = this.#records.get(node) ?? { takeovers: [], holds: 0, heldUntil: 0 };
    const last = record.takeovers.at(-1);
    if (last !== undefined && now - last < BURST_MS) return false;
    record.takeovers = record.takeovers.filter((at) => at > now - flapWindowMs);
    if (record.takeovers.length === 0) record.holds = 0;
    record.takeovers.push(now);
    this.#records.delete(node);
    this.#records.set(node, record);
    if (this.#records.size > MAX_NODES) this.#records.delete(this.#records.keys().next().value!);
    if (record.takeovers.length < flapThreshold) return false;
    record.heldUntil = now + Math.min(flapWindowMs, FIRST_HOLD_MS * 2 ** Math.min(record.holds++, 20));
    return true;
  }

  /** How long a newcomer of this node has to stay away, milliseconds; 0 when it may come. */
  holdMs(node: string): number {
    return Math.max(0, (this.#records.get(node)?.heldUntil ?? 0) - this.#clock.monotonic());
  }
}
