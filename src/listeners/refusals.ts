import type { RejectionReport, RejectionSink } from '../contracts/rejections.ts';
import type { Clock } from '../core/clock.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { OWN_PROBE } from '../core/own-probe.ts';
import type { Refusal } from '../identity/node-identity.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import { HANDSHAKE_REASONS } from '../protocol/rejection-reasons.ts';

export interface RefusalReporterComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly rejections?: RejectionSink | undefined;
}

/**
 * Counts every refused peer and logs it at most once a minute for each node (or address, when no trusted CA
 * names a node) and reason (requirements F3, I14, L2). The gateway's own probes are left out.
 */
export class RefusalReporter {
  readonly #components: RefusalReporterComponents;
  readonly #transport: ListenerName;
  readonly #sampler: LogSampler;
  readonly #daily: LogSampler;

  constructor(components: RefusalReporterComponents, transport: ListenerName) {
    this.#components = components;
    this.#transport = transport;
    this.#sampler = new LogSampler({ clock: components.clock });
    this.#daily = new LogSampler({ clock: components.clock, periodMs: 86_400_000 });
  }

  report(refusal: Refusal, remoteAddress: string): void {
    if (remoteAddress === OWN_PROBE) return;
    const { log, metrics, rejections } = this.#components;
    const { reason, detail, claimedNode } = refusal;
    rejections?.record(rejectionOf(refusal, { listener: this.#transport, remoteAddress }));
    metrics.handshakeFailures.inc({ transport: this.#transport, reason });
    // A connection without any certificate is a probe or a browser, not a fault of the fleet (requirement
    // H2).
    if (reason === 'no-certificate') {
      log.debug({ remoteAddress, reason }, 'a connection without client certificate was refused');
      return;
    }
    // Names that nobody vouches for could be made up without end: each address gets its line a minute,
    // whatever it claims.
    const who = refusal.nodeVerified ? (claimedNode ?? remoteAddress) : remoteAddress;
    const suppressed = this.#sampler.pass(`${who} ${reason}`);
    if (suppressed === undefined) return;
    log.warn(
      { remoteAddress, reason, detail, ...nameOf(refusal), suppressed },
      'a client certificate was refused',
    );
  }

  /** What a stranger sent could not be read: counted and remembered, but not worth a line. */
  reportUnread(what: { reason: 'timeout' | 'protocol'; detail: string }, remoteAddress: string): void {
    if (remoteAddress === OWN_PROBE) return;
    const { metrics, rejections } = this.#components;
    metrics.handshakeFailures.inc({ transport: this.#transport, reason: what.reason });
    rejections?.record({ ...what, listener: this.#transport, remoteAddress });
  }

  /** Another protocol, of a client that tries for ever: one line a day says how to end it. */
  reportForeign(reason: 'kubeedge-quic', remoteAddress: string): void {
    const { log, metrics, rejections } = this.#components;
    const { meaning: detail, fix } = HANDSHAKE_REASONS[reason];
    metrics.handshakeFailures.inc({ transport: this.#transport, reason });
    rejections?.record({ reason, detail, listener: this.#transport, remoteAddress });
    const suppressed = this.#daily.pass(`${remoteAddress} ${reason}`);
    if (suppressed === undefined) return;
    log.warn({ remoteAddress, reason, fix, suppressed }, 'a client speaks a protocol that the hub does not');
  }

  /** A node with a good certificate that the hub does not take now. */
  limited(
    { node, close, detail }: { node: string; close: CloseReason; detail: string },
    remoteAddress: string,
  ): void {
    const { metrics, rejections } = this.#components;
    metrics.connectionsRefused.inc({ transport: this.#transport, limit: close.name });
    // The hub's own restart is nobody's fault.
    if (close.name === 'Draining') return;
    rejections?.record({ listener: this.#transport, reason: close.name, remoteAddress, node, detail });
  }
}

/** What came was none of ours: the frame, the path, the header. */
export function protocolRefusal(detail: string): Refusal {
  return { ok: false, reason: 'protocol', detail };
}

/** Who it is about: a name nobody vouches for never stands where a node's name does. */
function nameOf({ claimedNode, nodeVerified }: Refusal): { node?: string; claimedNode?: string } {
  if (claimedNode === undefined) return {};
  return nodeVerified ? { node: claimedNode } : { claimedNode };
}

export function rejectionOf(
  refusal: Refusal,
  where: Pick<RejectionReport, 'listener' | 'remoteAddress'>,
): RejectionReport {
  const { reason, detail, facts } = refusal;
  return { ...where, reason, detail, facts, ...nameOf(refusal) };
}
