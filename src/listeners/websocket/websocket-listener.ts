import type { IncomingMessage } from 'node:http';
import { createServer, type TLSSocket } from 'node:tls';
import { type WebSocket, WebSocketServer } from 'ws';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, KnockRequest } from '../../contracts/handshake.ts';
import type { BundleTrial, ListenAddress, Listener } from '../../contracts/listener.ts';
import type { Timer } from '../../core/clock.ts';
import type { NodeIdentity, Refusal, Verdict } from '../../identity/node-identity.ts';
import type { CloseReason } from '../../protocol/close-reasons.ts';
import { refusalStatus } from '../../protocol/rejection-reasons.ts';
import type { EdgeListenerComponents } from '../edge-listener-components.ts';
import { keyExchange } from '../key-exchange.ts';
import { peerCertificates } from '../peer-certificates.ts';
import { protocolRefusal, RefusalReporter } from '../refusals.ts';
import { TlsServer } from '../tls-server.ts';
import type { HttpAnswer } from './http-answer.ts';
import { HttpIntake } from './http-intake.ts';
import type { WebSocketListenerOptions } from './options.ts';
import type { RequestHead } from './request-head.ts';
import { SharedTexts } from './shared-texts.ts';
import { asksForUpgrade, readUpgrade, type UpgradeRequest } from './upgrade-request.ts';
import { type ConnectionContext, WebSocketConnection } from './websocket-connection.ts';
import { knockWebSocket } from './websocket-knock.ts';

/** One sweep for all connections that write, are paused or close. */
const SWEEP_MS = 500;
/**
 * How often the round trip to each peer is measured, milliseconds; spread evenly over the sweeps, so that a
 * fleet does not answer at once.
 */
const PING_MS = 30_000;
/** Looked at in each sweep at least, so that a small fleet is measured soon after it connects. */
const MIN_PINGS = 8;

/**
 * KubeEdge's WebSocket (`wss://<host>:10000/<project_id>/<node>/events`). A peer is let in by named steps,
 * all before the upgrade: read the request, ask the gate, compare the names, ask the hub; whoever fails one
 * gets an HTTP answer with header `Sallyport-Reason`.
 */
export class WebSocketListener implements Listener {
  readonly name = 'websocket';
  readonly #components: EdgeListenerComponents;
  readonly #options: () => WebSocketListenerOptions;
  readonly #tls: TlsServer;
  readonly #upgrader: WebSocketServer;
  readonly #refusals: RefusalReporter;
  readonly #context: ConnectionContext;
  readonly #open = new Set<WebSocketConnection>();
  /** Projects and agents, of which a fleet has few. */
  readonly #texts = new SharedTexts();
  readonly #http: HttpIntake;
  #sweep: Timer | undefined;
  /** Goes round the open connections, which may come and go meanwhile. */
  #toPing: Iterator<WebSocketConnection> | undefined;
  #stopping = false;

  constructor(components: EdgeListenerComponents, options: () => WebSocketListenerOptions) {
    const { clock, metrics, rejections } = components;
    const log = components.log.child({ listener: this.name });
    this.#components = { ...components, log };
    this.#options = options;
    this.#refusals = new RefusalReporter({ clock, log, metrics, rejections }, this.name);
    this.#context = {
      clock,
      log,
      metrics,
      options,
      watched: new Set(),
      ended: (connection) => this.#forget(connection),
    };
    this.#tls = new TlsServer(
      { source: components.source, clock, log, metrics, rejections, descriptors: components.descriptors },
      () => ({ ...options(), name: this.name }),
      { create: (tls) => createServer({ ...tls, noDelay: true }) },
    );
    this.#http = new HttpIntake(clock, {
      onRequest: (socket, head, rest) => this.#onRequest(socket, head, rest),
      onBroken: (socket, answer) => this.#onBroken(socket, answer),
      onIdle: () => this.#endSweepWhenIdle(),
    });
    this.#tls.server.on('secureConnection', (socket) =>
      this.#http.read(socket, options().limits.requestTimeoutMs),
    );
    this.#upgrader = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      // EdgeCore asks for none; whoever does gets none (without this, ws takes the first).
      handleProtocols: () => false,
      // Ours answers pings as long as the peer reads.
      autoPong: false,
      maxPayload: options().maxMessageBytes,
    });
  }

  async start(): Promise<void> {
    await this.#tls.start();
    this.#sweep ??= this.#components.clock.setInterval(() => this.#sweepAll(), SWEEP_MS);
  }

  applyBundle(next: CertificateBundle): void {
    this.#tls.applyBundle(next);
  }

  get servesAs(): string {
    return this.#tls.servesAs;
  }

  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void> {
    return this.#tls.tryBundle(next, visit);
  }

  handshake(request: HandshakeRequest): Promise<HandshakeResult> {
    return this.#tls.handshake(request);
  }

  knock(request: KnockRequest): Promise<number> {
    return this.#tls.probe(request, knockWebSocket);
  }

  servedFingerprint(): string {
    return this.#tls.servedFingerprint();
  }

  address(): ListenAddress {
    return this.#tls.address();
  }

  /**
   * Stops accepting. Connections of the hub stay for the hub to drain, which is stopped after its listeners;
   * whatever is left when `signal` is aborted is destroyed, also when that happens after this promise
   * resolved.
   */
  async stop(_reason: CloseReason, signal: AbortSignal): Promise<void> {
    this.#stopping = true;
    const force = () => {
      for (const connection of [...this.#open]) connection.terminate();
      this.#http.destroyAll();
    };
    if (signal.aborted) force();
    else signal.addEventListener('abort', force, { once: true });
    await this.#tls.stop(signal);
    this.#endSweepWhenIdle();
  }

  #onRequest(socket: TLSSocket, head: RequestHead, rest: Buffer): void {
    try {
      if (!asksForUpgrade(head.fields)) {
        this.#answerPlain(socket);
        return;
      }
      const reading = readUpgrade(head);
      if (!reading.ok) {
        const { status, detail } = reading;
        this.#refusals.report(protocolRefusal(detail), this.#tls.remoteAddress(socket));
        this.#http.end(socket, { status, reason: 'protocol', detail });
        return;
      }
      const verdict = this.#identify(socket, reading.request);
      if (!verdict.ok) {
        this.#refusals.report(verdict, this.#tls.remoteAddress(socket));
        this.#http.end(socket, refusalAnswer(verdict));
        return;
      }
      if (!this.#admit(socket, verdict.identity)) return;
      this.#upgrade(socket, rest, reading.request, verdict.identity);
    } catch (err) {
      this.#components.log.error({ err }, 'an upgrade failed unexpectedly');
      socket.destroy();
    }
  }

  /** The gate's verdict; then path and header have to name the certificate's node (requirement G1). */
  #identify(socket: TLSSocket, request: UpgradeRequest): Verdict {
    const { leaf, intermediates } = peerCertificates(socket);
    const verdict = this.#components.gate.check(leaf, intermediates, request.nodeId);
    if (!verdict.ok) return verdict;
    const { nodeName } = verdict.identity;
    if (request.nodeId === nodeName && request.pathNode === nodeName) return verdict;
    const detail =
      request.nodeId === undefined
        ? 'the header node_id has to be given exactly once'
        : `the certificate belongs to node ${nodeName}; header node_id and path have to name the same`;
    return { ok: false, reason: 'node-mismatch', detail, claimedNode: nodeName, nodeVerified: true };
  }

  #admit(socket: TLSSocket, identity: NodeIdentity): boolean {
    if (this.#stopping) {
      this.#http.end(socket, {
        status: 503,
        reason: 'Draining',
        detail: 'the hub is restarting',
        retryAfterMs: 1_000,
      });
      return false;
    }
    const admission = this.#components.acceptor.admit(identity, this.name);
    if (admission.ok) return true;
    const { status, close, detail, retryAfterMs } = admission;
    this.#refusals.limited({ node: identity.nodeName, close, detail }, this.#tls.remoteAddress(socket));
    this.#http.end(socket, { status, reason: close.name, detail, retryAfterMs });
    return false;
  }

  #upgrade(stream: TLSSocket, rest: Buffer, asked: UpgradeRequest, peer: NodeIdentity): void {
    const { acceptor, clock, metrics } = this.#components;
    this.#upgrader.options.maxPayload = this.#options().maxMessageBytes;
    this.#upgrader.handleUpgrade(forLibrary(asked), stream, rest, (socket: WebSocket) => {
      const facts = {
        peer,
        remoteAddress: this.#tls.remoteAddress(stream),
        projectId: this.#texts.same(asked.projectId),
        agent: asked.agent === undefined ? undefined : this.#texts.same(asked.agent),
        keyExchange: keyExchange(stream),
      };
      const connection = new WebSocketConnection(this.#context, facts, { socket, stream });
      this.#tls.handOver(stream);
      this.#open.add(connection);
      const acceptedAt = this.#tls.acceptedAt(stream) ?? clock.monotonic();
      metrics.connectSeconds.observe({ transport: this.name }, (clock.monotonic() - acceptedAt) / 1000);
      acceptor.accept(connection);
    });
  }

  #forget(connection: WebSocketConnection): void {
    this.#open.delete(connection);
    this.#endSweepWhenIdle();
  }

  /** A request that is no upgrade: said politely, so that a person with a browser or curl understands. */
  #answerPlain(socket: TLSSocket): void {
    const { leaf, intermediates } = peerCertificates(socket);
    const verdict = this.#components.gate.check(leaf, intermediates);
    const remoteAddress = this.#tls.remoteAddress(socket);
    if (!verdict.ok) this.#refusals.report(verdict, remoteAddress);
    const detail = 'this port speaks WebSocket: wss://<host>:<port>/<project_id>/<node>/events';
    this.#http.end(
      socket,
      verdict.ok || verdict.reason === 'legacy-certificate'
        ? { status: 426, reason: 'protocol', detail }
        : refusalAnswer(verdict),
    );
  }

  /** A request that cannot be parsed or took too long (requirement I2). */
  #onBroken(socket: TLSSocket, answer: HttpAnswer): void {
    const reason = answer.status === 408 ? 'timeout' : 'protocol';
    this.#refusals.reportUnread({ reason, detail: answer.detail }, this.#tls.remoteAddress(socket));
    this.#http.end(socket, answer);
  }

  #sweepAll(): void {
    const now = this.#components.clock.monotonic();
    const { watched } = this.#context;
    for (const connection of watched) if (!connection.sweep(now)) watched.delete(connection);
    this.#http.sweep(now);
    this.#pingSome(now);
  }

  #pingSome(now: number): void {
    const due = Math.ceil((this.#open.size * SWEEP_MS) / PING_MS);
    for (let left = Math.max(due, MIN_PINGS); left > 0; left--) {
      this.#toPing ??= this.#open.values();
      const { value, done } = this.#toPing.next();
      if (!done) value.ping(now, PING_MS);
      else {
        this.#toPing = undefined;
        return;
      }
    }
  }

  #endSweepWhenIdle(): void {
    if (!this.#stopping || this.#open.size > 0 || this.#http.size > 0) return;
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }
}

function refusalAnswer({ reason, detail, facts }: Refusal): HttpAnswer {
  return { status: refusalStatus(reason), reason, detail, facts };
}

/** As much of Node's request as the library reads. */
function forLibrary({ key }: UpgradeRequest): IncomingMessage {
  const headers = { upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': key };
  return { method: 'GET', headers } as unknown as IncomingMessage;
}
