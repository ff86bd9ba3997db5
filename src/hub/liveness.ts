import type { Clock, Timer } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { type CloseReason, closeReason } from '../protocol/close-reasons.ts';
import { HeartbeatWatch } from './heartbeat-watch.ts';
import type { Session } from './session.ts';
import type { TrafficMeter } from './traffic-meter.ts';

/** Longest pause between two looks at all sessions, milliseconds. */
const SWEEP_MS = 1_000;

export interface LivenessOptions {
  readonly keepaliveTimeoutMs: number;
  readonly maxPendingUpstream: number;
}

export interface LivenessHooks {
  sessions(): Iterable<Session>;
  close(session: Session, reason: CloseReason): void;
  /** The session has to end soon, but need not at once. */
  planEnd(session: Session, reason: CloseReason): void;
  /** All sessions were looked at; `now` on the monotonic clock. */
  looked(now: number): void;
}

/**
 * Ends sessions that are silent, whose certificate expired, or whose planned end has come. One timer for all:
 * a look at every session each second costs less than a timer a session that each message winds up again.
 */
export class Liveness {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #meter: TrafficMeter;
  readonly #options: () => LivenessOptions;
  readonly #hooks: LivenessHooks;
  readonly #heartbeats = new HeartbeatWatch();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(
    {
      clock,
      log,
      metrics,
      meter,
      hooks,
    }: { clock: Clock; log: Logger; metrics: Metrics; meter: TrafficMeter; hooks: LivenessHooks },
    options: () => LivenessOptions,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
    this.#meter = meter;
    this.#hooks = hooks;
    this.#options = options;
  }

  start(): void {
    if (this.#stopped) return;
    const periodMs = Math.min(SWEEP_MS, this.#options().keepaliveTimeoutMs / 2);
    this.#timer = this.#clock.setTimeout(() => {
      this.#lookAtAll();
      this.start();
    }, periodMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Silence allowed to a session of this node that begins now, milliseconds. */
  timeoutFor(node: string): number {
    return this.#heartbeats.timeoutFor(node, this.#options().keepaliveTimeoutMs, this.#clock.monotonic());
  }

  /** A keepalive came. */
  beat(session: Session): void {
    const now = this.#clock.monotonic();
    if (session.beats++ > 0) {
      const { keepaliveTimeoutMs } = this.#options();
      const intervalMs = now - session.lastBeat;
      if (this.#heartbeats.measured(session.node, intervalMs, keepaliveTimeoutMs)) {
        this.#metrics.slowHeartbeats.inc();
        this.#log.warn(
          { node: session.node, intervalMs, timeoutMs: keepaliveTimeoutMs },
          'the heartbeat of this node is slower than hub.keepaliveTimeoutMs; its session is given more time',
        );
      }
      session.timeoutMs = this.timeoutFor(session.node);
    }
    session.lastBeat = now;
  }

  #lookAtAll(): void {
    const now = this.#clock.monotonic();
    for (const session of [...this.#hooks.sessions()]) {
      const sentBytes = session.takeSentBytes();
      if (sentBytes > 0) this.#meter.addBytes('downstream', session.connection.transport, sentBytes);
      this.#lookAt(session, now);
    }
    this.#hooks.looked(now);
  }

  #lookAt(session: Session, now: number): void {
    const { keepaliveTimeoutMs, maxPendingUpstream } = this.#options();
    // While the bus holds it back the connection is not read: its silence is our doing (I9).
    if (session.pendingUpstream >= maxPendingUpstream) session.lastHeard = now;
    if (now - session.lastHeard >= Math.max(session.timeoutMs, keepaliveTimeoutMs)) {
      this.#heartbeats.timedOut(session.node, session.beats, now);
      this.#hooks.close(session, closeReason('KeepaliveTimeout'));
    } else if (session.plannedEnd) {
      if (now >= session.plannedEnd.at) this.#hooks.close(session, session.plannedEnd.reason);
    } else if (this.#clock.now() >= session.connection.peer.certificate.notAfter) {
      const fields = { node: session.node, session: session.id };
      this.#log.warn(fields, 'the certificate of a session expired; the session will end');
      this.#hooks.planEnd(session, closeReason('CertificateExpired'));
    }
  }
}
