import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { createSecureContext, type TLSSocket, type Server as TlsOnlyServer, type TlsOptions } from 'node:tls';
import type { CertificateBundle, CertificateSource } from '../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, Probe } from '../contracts/handshake.ts';
import type { BundleTrial, ListenAddress } from '../contracts/listener.ts';
import type { RejectionSink } from '../contracts/rejections.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { listenFailed } from '../core/listen-failed.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import {
  type AcceptedSocket,
  AcceptedSockets,
  type TlsServerLimits,
  underneath,
} from './accepted-sockets.ts';
import { plainAddress } from './address-limit.ts';
import type { DescriptorShare } from './descriptor-budget.ts';
import { HandshakeLog } from './handshake-log.ts';
import { OwnProbes } from './own-probes.ts';
import { forgetPeer, peerCertificates } from './peer-certificates.ts';
import { CLIENT_AUTH, type TlsPolicy, tlsOptions } from './tls-options.ts';
import { tlsHandshake, tryTlsBundle } from './tls-trial.ts';

export interface TlsServerComponents {
  readonly source: CertificateSource;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly rejections?: RejectionSink | undefined;
  /** File descriptors that its sockets may use; without it any number. */
  readonly descriptors?: DescriptorShare | undefined;
}

/**
 * Asked again whenever a value is used, so limits change live. `host`, `port` and `proxyProtocolFrom` are
 * read once.
 */
export interface TlsServerOptions {
  readonly name: ListenerName;
  readonly host: string;
  readonly port: number;
  readonly tls: TlsPolicy;
  readonly limits: TlsServerLimits;
}

/** How often deadlines are looked at: one sweep for all sockets instead of a timer each. */
const SWEEP_MS = 250;
const STOP_POLL_MS = 20;

/**
 * The TCP and TLS part that every listener over HTTPS shares: caps at accept, deadlines, hot swap, and logs
 * that help. What a request or an upgrade means, and whether its peer is let in, is for the listener and the
 * gate.
 */
export class TlsServer {
  /**
   * For `upgrade` handlers and fastify's `serverFactory`. Call {@link start} and {@link stop}, not `listen`
   * and `close`.
   */
  readonly server: Server;
  readonly #components: TlsServerComponents;
  readonly #options: () => TlsServerOptions;
  readonly #name: ListenerName;
  /** Where Node's HTTP/1.1 answers requests; undefined where something else is spoken over TLS. */
  readonly #http: Server | undefined;
  readonly #alpn: string | undefined;
  readonly #sockets: AcceptedSockets;
  readonly #handshakeLog: HandshakeLog;
  readonly #probes = new OwnProbes();
  #served: CertificateBundle;
  #sweep: Timer | undefined;
  #stopping = false;

  /**
   * @param serve what answers requests over HTTP/1.1, or makes a server that hands over its TLS sockets; with
   * `alpn`, what its clients have to ask for
   */
  constructor(
    components: TlsServerComponents,
    options: () => TlsServerOptions,
    serve?: RequestListener | { create(tls: TlsOptions): TlsOnlyServer; readonly alpn?: string },
  ) {
    const { name, tls, limits } = options();
    this.#components = components;
    this.#options = options;
    this.#name = name;
    this.#served = components.source.current();
    this.#handshakeLog = new HandshakeLog(components, name, () => this.#served.server.names);
    const secure = { ...tlsOptions(this.#served, tls), ...CLIENT_AUTH };
    if (typeof serve === 'object') {
      this.server = serve.create(secure) as Server;
      this.#alpn = serve.alpn;
    } else {
      const { requestTimeoutMs: requestTimeout } = limits;
      const deadlines = { connectionsCheckingInterval: 500, requestTimeout, headersTimeout: requestTimeout };
      this.#http = createServer({ ...secure, ...deadlines, noDelay: true }, serve);
      this.server = this.#http;
    }
    // Node's own handlers of `connection`, which start the handshake.
    const begin = this.server.listeners('connection') as ((socket: Socket) => void)[];
    this.#sockets = new AcceptedSockets(
      { ...components, name, limits: () => this.#options().limits, probes: this.#probes },
      {
        handshake: (socket) => {
          for (const listener of begin) listener.call(this.server, socket);
        },
        noProxyHeader: (socket) => this.#handshakeLog.noProxyHeader(socket),
        late: (socket) => this.#handshakeLog.late(socket),
        closed: (socket) => this.#closed(socket),
      },
    );
    this.server.removeAllListeners('connection');
    this.server.on('connection', (socket: Socket) => {
      if (this.#stopping) socket.destroy();
      else this.#sockets.accept(socket);
    });
    // Before the HTTP part's own listener, so that whoever sees the socket finds it tracked.
    this.server.prependListener('secureConnection', (secure) => this.#secured(secure));
    this.server.on('tlsClientError', (error, secure) => this.#handshakeLog.failed(error, underneath(secure)));
    this.#http?.prependListener('request', (request, response) => this.#countRequest(request, response));
  }

  /** Binds and serves `source.current()`. @throws LISTEN_FAILED */
  async start(): Promise<void> {
    const { host, port } = this.#options();
    this.applyBundle(this.#components.source.current());
    await new Promise<void>((resolve, reject) => {
      const failed = (cause: Error) => reject(listenFailed(this.#name, { host, port }, cause));
      this.server.once('error', failed);
      this.server.listen({ host, port, backlog: 4096 }, () => {
        this.server.off('error', failed);
        this.server.on('error', (err) => this.#components.log.warn({ err }, 'the server reports an error'));
        resolve();
      });
    });
    this.#sweep = this.#components.clock.setInterval(() => this.#sweepDeadlines(), SWEEP_MS);
  }

  /**
   * New handshakes use `next`, open connections stay. @throws without any effect when `next` cannot be served
   */
  applyBundle(next: CertificateBundle): void {
    const context = tlsOptions(next, this.#options().tls);
    // `setSecureContext` assigns field by field; what it would reject must not reach it.
    createSecureContext(context);
    this.server.setSecureContext(context);
    this.#served = next;
  }

  /** All that `tlsOptions` is made of besides the bundle. */
  get servesAs(): string {
    return `TLS ${JSON.stringify([this.#options().tls, this.#alpn])}`;
  }

  /** Serves `next` off to the side, with the options the real server would have. */
  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void> {
    const policy = this.#options().tls;
    return tryTlsBundle(next, { policy, alpn: this.#alpn }, visit);
  }

  handshake(request: HandshakeRequest): Promise<HandshakeResult> {
    return this.probe(request, (own) => tlsHandshake(own, this.#alpn));
  }

  /** Connects to this server unseen: nothing of that connection is counted, logged or remembered. */
  probe<P extends Probe, T>(probe: P, make: (probe: P) => Promise<T>): Promise<T> {
    return this.#probes.during(probe, make);
  }

  servedFingerprint(): string {
    return this.#served.fingerprint;
  }

  /** @throws LISTEN_FAILED when it does not listen */
  address(): ListenAddress {
    const address = this.server.address();
    if (address === null || typeof address === 'string')
      throw listenFailed(this.#name, this.#options(), new Error('it does not listen'));
    return { host: address.address, port: address.port };
  }

  /**
   * The peer's address, as a trusted balancer told it where there is one; `OWN_PROBE` for the gateway itself.
   * For logs and limits, never for identity (H7).
   */
  remoteAddress(socket: Socket): string {
    return this.#sockets.of(socket)?.address ?? plainAddress(socket.remoteAddress);
  }

  /** When the socket was accepted, milliseconds on the monotonic clock. */
  acceptedAt(socket: Socket): number | undefined {
    return this.#sockets.of(socket)?.acceptedAt;
  }

  /**
   * From here on the socket is a session: {@link stop} leaves it to its owner; it still counts for the caps.
   */
  handOver(socket: Socket): void {
    const connection = this.#sockets.of(socket);
    if (connection) connection.phase = 'session';
    forgetPeer(socket);
  }

  /** Open sockets of all phases. */
  get size(): number {
    return this.#sockets.size;
  }

  /**
   * Stops accepting, ends handshakes and idle sockets, lets requests finish until `signal` is aborted.
   * Sockets that were handed over stay open. Idempotent.
   */
  async stop(signal: AbortSignal): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      if (this.server.listening) this.server.close();
    }
    while (!signal.aborted && this.#endIdle() > 0) {
      // Real time: requests end when their clients read, not when a clock is moved.
      await new Promise((resolve) => setTimeout(resolve, STOP_POLL_MS));
    }
    for (const { phase, raw } of this.#sockets) if (phase !== 'session') raw.destroy();
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  /** Destroys what has no request under way. @returns how many have */
  #endIdle(): number {
    let busy = 0;
    for (const { phase, raw, requests } of this.#sockets) {
      if (phase === 'open' && requests > 0) busy++;
      else if (phase !== 'session') raw.destroy();
    }
    return busy;
  }

  #countRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#sockets.of(request.socket);
    if (!connection) return;
    connection.requests++;
    response.once('close', () => {
      connection.requests--;
    });
  }

  #secured(secure: TLSSocket): void {
    const socket = this.#sockets.secured(secure);
    if (!socket) {
      secure.destroy();
      return;
    }
    // OpenSSL's own look at a client's chain may leave a failed signature in its error queue (two CAs of one
    // name), which Node 24 would take for a failure of the next read on any connection. Reading the
    // certificate empties the queue.
    peerCertificates(secure);
  }

  #closed(socket: AcceptedSocket): void {
    const { phase, secure } = socket;
    if (phase !== 'open' || !secure || this.#alpn !== undefined || this.#stopping) return;
    // Of a TLS socket these are the bytes inside TLS: what it said, without its handshake.
    if (secure.bytesRead > 0) return;
    const { leaf } = peerCertificates(secure);
    if (leaf) this.#handshakeLog.left(socket, leaf.subject);
  }

  #sweepDeadlines(): void {
    if (this.#http) {
      const { requestTimeoutMs } = this.#options().limits;
      this.#http.headersTimeout = requestTimeoutMs;
      this.#http.requestTimeout = requestTimeoutMs;
    }
    this.#sockets.sweep();
  }
}
