import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, KnockRequest } from '../../contracts/handshake.ts';
import type { BundleTrial, ListenAddress, Listener } from '../../contracts/listener.ts';
import type { SessionTickets } from '../../contracts/session-tickets.ts';
import type { Timer } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import { listenFailed } from '../../core/listen-failed.ts';
import type { Refusal, Verdict } from '../../identity/node-identity.ts';
import type { CloseReason } from '../../protocol/close-reasons.ts';
import { refusalStatus } from '../../protocol/rejection-reasons.ts';
import type { EdgeListenerComponents } from '../edge-listener-components.ts';
import type { EdgeSession } from '../framed/edge-session.ts';
import { FramedOpening } from '../framed/framed-opening.ts';
import { peerCertificates } from '../peer-certificates.ts';
import { RefusalReporter } from '../refusals.ts';
import { Http2Endpoint, type Judged, type SessionRefusal, type SessionRequest } from './http2-endpoint.ts';
import { Http3Endpoint, type Http3Request } from './http3-endpoint.ts';
import { Http2Engine, loadWebTransportLibrary } from './library.ts';
import type { WebTransportListenerOptions } from './options.ts';
import { SingleStream } from './single-stream.ts';
import { knockWebTransport } from './webtransport-knock.ts';

export interface WebTransportListenerComponents extends EdgeListenerComponents {
  readonly tickets: Pick<SessionTickets, 'redeem'>;
}

const SWEEP_MS = 1_000;
const STOP_POLL_MS = 20;

/**
 * WebTransport at `/edge`, with the frames of QUIC on one stream a session: over HTTP/2 with client
 * certificates or tickets, and over HTTP/3 with tickets where the library's native part is installed.
 * docs/decisions/webtransport.md says why it is built so.
 */
export class WebTransportListener implements Listener {
  readonly name = 'webtransport';
  readonly #components: WebTransportListenerComponents;
  readonly #options: () => WebTransportListenerOptions;
  readonly #http2: Http2Endpoint;
  readonly #refusals: RefusalReporter;
  readonly #openings = new Map<EdgeSession, FramedOpening>();
  #engine: Http2Engine | undefined;
  #http3: Http3Endpoint | undefined;
  #noHttp3: string | undefined = 'not started';
  #sweep: Timer | undefined;
  #stopping = false;

  constructor(components: WebTransportListenerComponents, options: () => WebTransportListenerOptions) {
    const log = components.log.child({ listener: this.name });
    this.#components = { ...components, log };
    this.#options = options;
    this.#refusals = new RefusalReporter(this.#components, this.name);
    this.#http2 = new Http2Endpoint(
      {
        ...this.#components,
        engine: () => this.#engine!,
        events: {
          onRequest: (request) => this.#onHttp2Request(request),
          onUnwanted: (detail, remoteAddress) =>
            this.#refusals.reportUnread({ reason: 'protocol', detail }, remoteAddress),
        },
      },
      options,
    );
  }

  /** @throws LISTEN_FAILED, also when HTTP/3 is possible and its UDP port is taken */
  async start(): Promise<void> {
    const { source, log } = this.#components;
    try {
      const { module, missing } = await loadWebTransportLibrary();
      this.#engine = await Http2Engine.create(module, source.current().server);
      await this.#http2.tls.start();
      this.#noHttp3 = missing;
      if (missing === undefined) {
        this.#http3 = new Http3Endpoint(module, { onRequest: (request) => this.#onHttp3Request(request) });
        await this.#http3.start(this.address(), source.current());
      }
    } catch (cause) {
      await this.#http2.tls.stop(AbortSignal.abort());
      if (cause instanceof SallyportError) throw cause;
      throw listenFailed(this.name, this.#options(), cause);
    }
    log.debug({ serves: this.describe() }, 'WebTransport is served');
    this.#sweep = this.#components.clock.setInterval(() => this.#sweepAll(), SWEEP_MS);
  }

  /** Which versions of HTTP are served, and why not more; for operators. */
  describe(): string {
    return this.#noHttp3 === undefined ? 'HTTP/2 and HTTP/3' : `HTTP/2 only: ${this.#noHttp3}`;
  }

  /**
   * HTTP/2 takes `next` in place, and no session ends. The library's HTTP/3 cannot: its server is replaced,
   * and its sessions are asked to come back first.
   */
  async applyBundle(next: CertificateBundle): Promise<void> {
    this.#http2.tls.applyBundle(next);
    await this.#http3?.replace(next);
  }

  get servesAs(): string {
    return this.#http2.tls.servesAs;
  }

  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void> {
    return this.#http2.tls.tryBundle(next, visit);
  }

  handshake(request: HandshakeRequest): Promise<HandshakeResult> {
    return this.#http2.tls.handshake(request);
  }

  knock(request: KnockRequest): Promise<number> {
    return this.#http2.tls.probe(request, knockWebTransport);
  }

  servedFingerprint(): string {
    return this.#http2.tls.servedFingerprint();
  }

  address(): ListenAddress {
    return this.#http2.tls.address();
  }

  /**
   * Connections of the hub stay for the hub to drain; whatever is left when `signal` is aborted is ended
   * without words.
   */
  async stop(reason: CloseReason, signal: AbortSignal): Promise<void> {
    this.#stopping = true;
    for (const opening of this.#openings.values()) opening.end(reason);
    const force = () => {
      for (const session of [...this.#openings.keys()]) session.destroy();
    };
    if (signal.aborted) force();
    else signal.addEventListener('abort', force, { once: true });
    await this.#http2.tls.stop(signal);
    if (this.#http3) {
      // Its sessions live in its server.
      while (!signal.aborted && this.#openings.size > 0)
        await new Promise((resolve) => setTimeout(resolve, STOP_POLL_MS));
      this.#http3.stop();
    }
    this.#endSweepWhenIdle();
  }

  /** HTTP/2: refused with a status before anything is upgraded. */
  #onHttp2Request({ socket, remoteAddress, nodeId, ticket }: SessionRequest): Judged | Promise<Judged> {
    const draining = this.#draining();
    if (draining) return draining;
    const { leaf, intermediates } = peerCertificates(socket);
    const { gate, tickets } = this.#components;
    if (ticket === undefined)
      return this.#judge((claimed) => gate.check(leaf, intermediates, claimed), { nodeId, remoteAddress });
    const sha256 = leaf?.fingerprint256.replaceAll(':', '').toLowerCase();
    // A ticket works once; this is the one session it opens.
    const judge = (redeemed: Verdict) => this.#judge(() => redeemed, { nodeId, remoteAddress });
    return whenKnown(tickets.redeem(ticket, sha256), judge);
  }

  #judge(
    identify: (claimedNode: string | undefined) => Verdict,
    { nodeId, remoteAddress }: Pick<SessionRequest, 'nodeId' | 'remoteAddress'>,
  ): Judged {
    const verdict = matchNode(identify(nodeId), nodeId);
    // A certificate that names no node may still be let in by the name in the hello.
    const helloDecides = !verdict.ok && verdict.reason === 'legacy-certificate' && nodeId === undefined;
    if (!verdict.ok && !helloDecides) {
      this.#refusals.report(verdict, remoteAddress);
      return refusalAnswer(verdict);
    }
    return (session) => this.#open(session, (claimedNode) => matchNode(identify(claimedNode), nodeId));
  }

  /** HTTP/3: no client certificates, so a ticket. */
  #onHttp3Request({ ticket }: Http3Request): Judged | Promise<Judged> {
    const draining = this.#draining();
    if (draining) return draining;
    const verdict: Verdict | Promise<Verdict> =
      ticket === undefined
        ? { ok: false, reason: 'no-certificate', detail: 'over HTTP/3 a session is opened with a ticket' }
        : this.#components.tickets.redeem(ticket);
    return whenKnown(verdict, (known) => {
      if (known.ok) return (session) => this.#open(session, () => known);
      // The library tells the address of a session only once there is one.
      this.#refusals.report(known, '');
      return refusalAnswer(known);
    });
  }

  #draining(): SessionRefusal | undefined {
    return this.#stopping
      ? { status: 503, reason: 'Draining', detail: 'the hub is restarting', retryAfterMs: 1_000 }
      : undefined;
  }

  #open(session: EdgeSession, identify: (claimedNode: string) => Verdict): void {
    const { acceptor, clock, metrics } = this.#components;
    const { limits, sessionBytes, ...options } = this.#options();
    const opening = new FramedOpening(
      {
        session,
        identify,
        acceptor,
        clock,
        carry: (connection, control) =>
          new SingleStream(
            { connection, control, session, clock },
            { sessionBytes, reconnectWithinMs: limits.drainMs },
          ),
        onRefused: (refusal) => this.#refusals.report(refusal, session.remoteAddress),
        onLimited: (limit) => this.#refusals.limited(limit, session.remoteAddress),
        onDropped: (reason) => metrics.messagesDropped.inc({ direction: 'upstream', reason }),
        onAccepted: () =>
          metrics.connectSeconds.observe(
            { transport: this.name },
            (clock.monotonic() - session.startedAt) / 1000,
          ),
        onEnded: () => {
          this.#openings.delete(session);
          this.#endSweepWhenIdle();
        },
      },
      { ...options, ...limits, transport: this.name, messagesOnControl: true },
    );
    this.#openings.set(session, opening);
    opening.begin();
  }

  #sweepAll(): void {
    const now = this.#components.clock.monotonic();
    for (const opening of this.#openings.values()) opening.connection?.sweep(now);
  }

  #endSweepWhenIdle(): void {
    if (!this.#stopping || this.#openings.size > 0) return;
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }
}

/** The header `node_id`, where it is given, has to name the node of the certificate (requirement G1). */
function matchNode(verdict: Verdict, nodeId: string | undefined): Verdict {
  if (!verdict.ok || nodeId === undefined || nodeId === verdict.identity.nodeName) return verdict;
  const { nodeName } = verdict.identity;
  return {
    ok: false,
    reason: 'node-mismatch',
    detail: `the certificate belongs to node ${nodeName}; header node_id has to name the same`,
    claimedNode: nodeName,
    nodeVerified: true,
  };
}

/** In the same turn where nobody else has to be asked. */
function whenKnown(
  verdict: Verdict | Promise<Verdict>,
  then: (known: Verdict) => Judged,
): Judged | Promise<Judged> {
  return verdict instanceof Promise ? verdict.then(then) : then(verdict);
}

function refusalAnswer({ reason, detail, facts }: Refusal): SessionRefusal {
  return { status: refusalStatus(reason), reason, detail, facts };
}
