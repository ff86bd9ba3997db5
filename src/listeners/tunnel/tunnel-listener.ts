import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import type { CertificateBundle, CertificateSource } from '../../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, KnockRequest } from '../../contracts/handshake.ts';
import type { BundleTrial, ListenAddress, Listener } from '../../contracts/listener.ts';
import type { RejectionSink } from '../../contracts/rejections.ts';
import type { TunnelDialer } from '../../contracts/upstream-relay.ts';
import { askHttps } from '../../core/ask-https.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { NodeIdentity, Verdict } from '../../identity/node-identity.ts';
import type { PeerGate } from '../../identity/peer-gate.ts';
import type { CloseReason } from '../../protocol/close-reasons.ts';
import { refusalStatus } from '../../protocol/rejection-reasons.ts';
import { TunnelEnd } from '../../protocol/tunnel-end.ts';
import { peerCertificates } from '../peer-certificates.ts';
import { protocolRefusal, RefusalReporter } from '../refusals.ts';
import { TlsServer } from '../tls-server.ts';
import { answerBody, answerHeaders, type HttpAnswer, rawAnswer } from '../websocket/http-answer.ts';
import type { WebSocketListenerOptions } from '../websocket/options.ts';

export interface TunnelListenerComponents {
  readonly source: CertificateSource;
  readonly gate: Pick<PeerGate, 'check' | 'stillTrusted'>;
  readonly tunnels: TunnelDialer;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly rejections?: RejectionSink | undefined;
}

export type TunnelListenerOptions = Pick<WebSocketListenerOptions, 'host' | 'port' | 'tls' | 'limits'>;

/** KubeEdge `cloud/pkg/cloudstream/tunnelserver.go`. */
const PATH = '/v1/kubeedge/connect';
const NAME_HEADER = 'sessionhostnameoverride';
/** As for CloudCore: its frames have no limit of their own. */
const MAX_PAYLOAD = 32 * 1024 * 1024;
/** How soon a node that is shut out loses its tunnel. */
const TRUST_MS = 1_000;
/** How long a refused peer may take to read why. */
const LINGER_MS = 1_000;

/**
 * KubeEdge's tunnel for `kubectl logs` and `exec`. The same gate as everywhere; the name in the header has to
 * be the certificate's, which CloudCore does not check. CloudCore's end is opened first, so that an edge is
 * never let into a tunnel that leads nowhere.
 */
export class TunnelListener implements Listener {
  readonly name = 'tunnel';
  readonly #components: TunnelListenerComponents;
  readonly #tls: TlsServer;
  readonly #refusals: RefusalReporter;
  readonly #sampler: LogSampler;
  readonly #open = new Map<TunnelEnd, NodeIdentity>();
  readonly #stop = new AbortController();
  #timer: Timer | undefined;

  constructor(components: TunnelListenerComponents, options: () => TunnelListenerOptions) {
    const { clock, metrics, rejections } = components;
    const log = components.log.child({ listener: this.name });
    this.#components = { ...components, log };
    this.#refusals = new RefusalReporter({ clock, log, metrics, rejections }, this.name);
    this.#sampler = new LogSampler({ clock });
    this.#tls = new TlsServer(
      { source: components.source, clock, log, metrics, rejections },
      () => ({ ...options(), name: this.name }),
      (request, response) => this.#answerPlain(request, response),
    );
    this.#tls.server.on('upgrade', (request, socket, head) => void this.#onUpgrade(request, socket, head));
    this.#tls.server.on('clientError', (_error, socket) => socket.destroy());
  }

  async start(): Promise<void> {
    await this.#tls.start();
    this.#timer = this.#components.clock.setInterval(() => this.#endUntrusted(), TRUST_MS);
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

  /** Asks for a tunnel as EdgeCore would. */
  knock({ node, ...request }: KnockRequest): Promise<number> {
    return this.#tls.probe(request, (own) =>
      askHttps(own, {
        path: PATH,
        headers: {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': Buffer.alloc(16).toString('base64'),
          [NAME_HEADER]: node,
        },
      }),
    );
  }

  servedFingerprint(): string {
    return this.#tls.servedFingerprint();
  }

  address(): ListenAddress {
    return this.#tls.address();
  }

  describe(): string {
    return `${this.#open.size} open`;
  }

  /** Stops accepting, and closes every tunnel: what runs in one cannot be handed over. */
  async stop(_reason: CloseReason, signal: AbortSignal): Promise<void> {
    this.#stop.abort();
    this.#timer?.cancel();
    for (const end of this.#open.keys()) end.close();
    await this.#tls.stop(signal);
  }

  async #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => {});
    const remoteAddress = this.#tls.remoteAddress(request.socket);
    if (request.url !== PATH) {
      const detail = `the path has to be ${PATH}`;
      this.#refusals.report(protocolRefusal(detail), remoteAddress);
      return this.#end(socket, { status: 404, reason: 'protocol', detail });
    }
    const verdict = this.#identify(request);
    if (!verdict.ok) {
      this.#refusals.report(verdict, remoteAddress);
      const { reason, detail, facts } = verdict;
      return this.#end(socket, { status: refusalStatus(reason), reason, detail, facts });
    }
    const { identity } = verdict;
    const dialling = AbortSignal.any([this.#stop.signal, closed(socket)]);
    try {
      const upstream = await this.#components.tunnels.dialTunnel({
        node: identity.nodeName,
        path: PATH,
        headers: passedOn(request),
        signal: dialling,
      });
      // It may have been shut out while CloudCore was dialled.
      if (dialling.aborted || this.#components.gate.stillTrusted(identity)) {
        upstream.close();
        socket.destroy();
        return;
      }
      upgrader.handleUpgrade(request, socket, head, (webSocket) => {
        this.#tls.handOver(request.socket);
        const edge = new TunnelEnd(webSocket, socket);
        this.#open.set(edge, identity);
        edge.onClose(() => this.#open.delete(edge));
        edge.join(upstream);
      });
    } catch (error) {
      if (!dialling.aborted) this.#noUpstream(identity.nodeName, socket, error);
    }
  }

  #identify(request: IncomingMessage): Verdict {
    const { leaf, intermediates } = peerCertificates(request.socket as TLSSocket);
    const names = request.headersDistinct[NAME_HEADER] ?? [];
    const verdict = this.#components.gate.check(leaf, intermediates, names[0]);
    if (!verdict.ok) return verdict;
    const { nodeName } = verdict.identity;
    if (names.length === 1 && names[0] === nodeName) return verdict;
    const detail = `the certificate belongs to node ${nodeName}; header SessionHostNameOverride has to name the same, once`;
    return { ok: false, reason: 'node-mismatch', detail, claimedNode: nodeName, nodeVerified: true };
  }

  #noUpstream(node: string, socket: Duplex, error: unknown): void {
    const problem = describeError(error);
    const suppressed = this.#sampler.pass(isSallyportError(error) ? error.code : 'failed');
    if (suppressed !== undefined)
      this.#components.log.warn({ node, problem, suppressed }, 'a tunnel could not be opened to CloudCore');
    const detail = 'the tunnel to CloudCore cannot be opened now';
    this.#end(socket, { status: 503, reason: 'TryAgainLater', detail, retryAfterMs: 1_000 });
  }

  #endUntrusted(): void {
    for (const [end, identity] of this.#open) if (this.#components.gate.stillTrusted(identity)) end.close();
  }

  #answerPlain(request: IncomingMessage, response: ServerResponse): void {
    const detail = `this port speaks WebSocket: wss://<host>:<port>${PATH}`;
    const answer: HttpAnswer = { status: 426, reason: 'protocol', detail };
    request.resume();
    response.writeHead(answer.status, answerHeaders(answer)).end(answerBody(detail));
  }

  #end(socket: Duplex, answer: HttpAnswer): void {
    socket.removeAllListeners('data');
    socket.resume();
    socket.end(rawAnswer(answer));
    const timer = this.#components.clock.setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => timer.cancel());
  }
}

const upgrader = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  handleProtocols: () => false,
  maxPayload: MAX_PAYLOAD,
  skipUTF8Validation: true,
});

/** What CloudCore reads of a request, without what belongs to the connection with us. */
function passedOn({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      typeof value === 'string' && /^session|^user-agent$/.test(name) ? [[name, value]] : [],
    ),
  );
}

function closed(socket: Duplex): AbortSignal {
  const controller = new AbortController();
  socket.once('close', () => controller.abort());
  return controller.signal;
}
