import type { Admission, EdgeConnection } from '../contracts/edge-connection.ts';
import type { NodeOwner } from '../contracts/node-ownership.ts';
import type { Clock } from '../core/clock.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { type CloseReason, closeReason } from '../protocol/close-reasons.ts';
import { FlapDetector, type FlapOptions } from './flap-detector.ts';
import type { Session } from './session.ts';

/** Shortest wait an edge is told, and the spread on top when no window is given, milliseconds. */
const HINT_MS = 500;
const HINT_SPREAD_MS = 1_000;

export interface DoorOptions extends FlapOptions {
  readonly nodeLimit: number;
  readonly keepaliveTimeoutMs: number;
}

/** Whether a node that is who it says may have a session now. */
export class Door {
  /** Set when the hub lets nobody in any more. */
  draining = false;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #random: () => number;
  readonly #options: () => DoorOptions;
  readonly #flaps: FlapDetector;
  readonly #sampler: LogSampler;

  constructor(
    { clock, log, metrics, random }: { clock: Clock; log: Logger; metrics: Metrics; random: () => number },
    options: () => DoorOptions,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
    this.#random = random;
    this.#options = options;
    this.#flaps = new FlapDetector(clock, options);
    this.#sampler = new LogSampler({ clock });
  }

  /** @param around the session the node has now, and how many sessions there are */
  admit(
    node: string,
    around: { readonly present: Session | undefined; readonly sessions: number },
  ): Admission {
    if (this.draining) {
      const close = this.drainingReason();
      const retryAfterMs = close.reconnectAfterMs!;
      return { ok: false, status: 503, close, detail: 'the hub is shutting down', retryAfterMs };
    }
    const { nodeLimit } = this.#options();
    if (!around.present && around.sessions >= nodeLimit) {
      const detail = `the hub has reached its limit of ${nodeLimit} nodes`;
      return { ok: false, status: 503, close: closeReason('TryAgainLater'), detail };
    }
    const retryAfterMs = this.#holdMs(node, around.present);
    if (retryAfterMs === 0) return { ok: true };
    this.#metrics.flapping.inc();
    const close = closeReason('Flapping', retryAfterMs);
    const detail = 'two devices seem to use the certificate of this node';
    return { ok: false, status: 429, close, detail, retryAfterMs };
  }

  /** `newcomer` takes the session of its node from `present` (G4). */
  takenOver(present: Session, newcomer: EdgeConnection): void {
    this.#metrics.takeovers.inc();
    // A node that comes back from a connection that died is no second device.
    if (this.#isSilent(present) || !this.#flaps.takenOver(present.node)) return;
    this.#metrics.flapping.inc();
    const suppressed = this.#sampler.pass(present.node);
    if (suppressed === undefined) return;
    const addresses = [present.connection.remoteAddress, newcomer.remoteAddress];
    this.#log.warn(
      { node: present.node, addresses, suppressed },
      'sessions of this node keep taking over from each other: do two devices share its certificate?',
    );
  }

  /**
   * `session` took its node from another replica (G4). Counted and reported; who comes is not held off,
   * because whether the other session is alive is not known here, and a node whose old connection is dead
   * must never be kept out.
   */
  takenFrom(previous: NodeOwner, { session, changes }: { session: Session; changes: number }): void {
    this.#metrics.takeovers.inc();
    if (changes < this.#options().flapThreshold) return;
    this.#metrics.flapping.inc();
    const suppressed = this.#sampler.pass(session.node);
    if (suppressed === undefined) return;
    this.#log.warn(
      { node: session.node, from: previous.replica, changes, suppressed },
      'this node keeps changing between replicas: do two devices share its certificate?',
    );
  }

  /**
   * Why sessions end at a shutdown, with a hint that differs from node to node, so that a fleet does not
   * return at once.
   */
  drainingReason(windowMs = 0): CloseReason {
    const spreadMs = Math.max(windowMs, HINT_SPREAD_MS);
    return closeReason('Draining', Math.round(HINT_MS + this.#random() * spreadMs));
  }

  /** Only while the present session is heard: a node whose old connection is dead is never kept out. */
  #holdMs(node: string, present: Session | undefined): number {
    return !present || this.#isSilent(present) ? 0 : this.#flaps.holdMs(node);
  }

  #isSilent({ lastHeard }: Session): boolean {
    return this.#clock.monotonic() - lastHeard > this.#options().keepaliveTimeoutMs / 2;
  }
}
