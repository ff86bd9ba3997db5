import type { RejectionSink } from '../contracts/rejections.ts';
import type { Clock } from '../core/clock.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { OWN_PROBE } from '../core/own-probe.ts';
import { readNodeSubject } from '../identity/subject.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import { fixOf, type HandshakeReason } from '../protocol/rejection-reasons.ts';
import { readServerName } from './client-hello.ts';
import { explainHandshakeError } from './handshake-errors.ts';

export interface HandshakeLogComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly rejections?: RejectionSink | undefined;
}

/** What is known of a socket whose handshake failed. */
export interface HandshakePeer {
  readonly address: string;
  /** What it began with, as far as that came. */
  readonly hello: Buffer | undefined;
  readonly raw: { readonly bytesRead: number };
}

/**
 * Counts handshakes that fail and logs them with what an operator needs, once a minute for each address and
 * reason (B3, L2). The gateway's own probes are left out.
 */
export class HandshakeLog {
  readonly #components: HandshakeLogComponents;
  readonly #transport: ListenerName;
  readonly #servedNames: () => readonly string[];
  readonly #sampler: LogSampler;

  constructor(
    components: HandshakeLogComponents,
    transport: ListenerName,
    servedNames: () => readonly string[],
  ) {
    this.#components = components;
    this.#transport = transport;
    this.#servedNames = servedNames;
    this.#sampler = new LogSampler({ clock: components.clock });
  }

  failed(error: Error, peer: HandshakePeer | undefined): void {
    if (peer?.address === OWN_PROBE) return;
    const { reason, fix } = explainHandshakeError(error);
    // Balancers and kubelets probe by connecting and closing: nothing above debug (requirement H2).
    if (reason === 'disconnected') {
      this.#components.log.debug(
        { remoteAddress: peer?.address },
        'a client closed the connection during the handshake',
      );
      if (peer?.raw.bytesRead === 0) return;
    } else if (peer) this.#warn(peer, reason, fix, (error as NodeJS.ErrnoException).code);
    this.#count(reason, peer, fix);
  }

  /**
   * It completed the handshake with the certificate of a node, and left without a word: many clients verify
   * the hub only then.
   */
  left(peer: HandshakePeer, subject: string): void {
    const claim = readNodeSubject(subject);
    if (claim.kind !== 'node' || peer.address === OWN_PROBE) return;
    this.#components.rejections?.record({
      listener: this.#transport,
      reason: 'disconnected',
      remoteAddress: peer.address,
      claimedNode: claim.nodeName,
      detail: 'the client left after the handshake without asking for anything',
    });
  }

  late(peer: HandshakePeer): void {
    if (peer.address === OWN_PROBE) return;
    this.#count('timeout', peer, 'the handshake was not done in time');
    this.#components.log.debug(
      { remoteAddress: peer.address, reason: 'timeout' },
      'a handshake was not done in time',
    );
  }

  noProxyHeader(peer: HandshakePeer): void {
    if (peer.address === OWN_PROBE) return;
    const fix = fixOf('proxy-protocol')!;
    this.#count('proxy-protocol', peer, fix);
    this.#warn(peer, 'proxy-protocol', fix);
  }

  #count(reason: HandshakeReason | 'protocol', peer: HandshakePeer | undefined, what: string): void {
    const { metrics, rejections } = this.#components;
    metrics.handshakeFailures.inc({ transport: this.#transport, reason });
    if (!peer) return;
    const name = serverNameOf(peer);
    const asked = name === undefined ? '' : ` (asked for ${name})`;
    rejections?.record({
      listener: this.#transport,
      reason,
      remoteAddress: peer.address,
      detail: `${what}${asked}`,
    });
  }

  #warn(peer: HandshakePeer, reason: string, fix: string, error?: string): void {
    const suppressed = this.#sampler.pass(`${peer.address} ${reason}`);
    if (suppressed === undefined) return;
    const sni = serverNameOf(peer);
    this.#components.log.warn(
      {
        remoteAddress: peer.address,
        ...(sni === undefined ? {} : { sni }),
        servedNames: this.#servedNames(),
        reason,
        ...(error === undefined ? {} : { error }),
        fix,
        suppressed,
      },
      'a TLS handshake failed',
    );
  }
}

function serverNameOf({ hello }: HandshakePeer): string | undefined {
  return hello && readServerName(hello);
}
