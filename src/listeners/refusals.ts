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
    if (!this.#count(refusal, remoteAddress)) return;
    const { log } = this.#components;
    const { reason, detail, claimedNode } = refusal;
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
    this.#count(what, remoteAddress);
  }

  /** Another protocol, of a client that tries for ever: one line a day says how to end it. */
  reportForeign(reason: 'kubeedge-quic', remoteAddress: string): void {
    const { meaning: detail, fix } = HANDSHAKE_REASONS[reason];
    if (!this.#count({ reason, detail }, remoteAddress)) return;
    const suppressed = this.#daily.pass(`${remoteAddress} ${reason}`);
    if (suppressed === undefined) return;
    this.#components.log.warn(
      { remoteAddress, reason, fix, suppressed },
      'a client speaks a protocol that the hub does not',
    );
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

  /** @returns false for a probe of the gateway itself, which leaves no trace (L5) */
  #count(refused: Refused, remoteAddress: string): boolean {
    if (remoteAddress === OWN_PROBE) return false;
    const { metrics, rejections } = this.#components;
    const { reason, detail, facts } = refused;
    const listener = this.#transport;
    metrics.handshakeFailures.inc({ transport: listener, reason });
    rejections?.record({ listener, remoteAddress, reason, detail, facts, ...nameOf(refused) });
    return true;
  }
}

type Refused = Omit<Refusal, 'ok' | 'reason'> & Pick<RejectionReport, 'reason'>;

/** What came was none of ours: the frame, the path, the header. */
export function protocolRefusal(detail: string): Refusal {
  return { ok: false, reason: 'protocol', detail };
}

/** Who it is about: a name nobody vouches for never stands where a node's name does. */
function nameOf({ claimedNode, nodeVerified }: Refused): { node?: string; claimedNode?: string } {
  if (claimedNode === undefined) return {};
  return nodeVerified ? { node: claimedNode } : { claimedNode };
}
