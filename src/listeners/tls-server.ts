import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import { createSecureContext, type TLSSocket, type Server as TlsOnlyServer, type TlsOptions } from 'node:tls';
import type { CertificateBundle, CertificateSource } from '../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult } from '../contracts/handshake.ts';
import type { BundleTrial, ListenAddress } from '../contracts/listener.ts';
import type { RejectionSink } from '../contracts/rejections.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import { AddressLimit, plainAddress } from './address-limit.ts';
import { awaitClientHello } from './client-hello.ts';
import type { DescriptorShare } from './descriptor-budget.ts';
import { HandshakeLog } from './handshake-log.ts';
import { HandshakePlaces } from './handshake-places.ts';
import { forgetPeer, peerCertificates } from './peer-certificates.ts';
import { awaitProxyHeader, CidrList } from './proxy-protocol.ts';
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

/** The part of `limits` in the configuration that servers over TCP obey. */
export interface TlsServerLimits {
  readonly connections: number;
  readonly connectionsPerIp: number;
  readonly handshakes: number;
  readonly handshakeTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly proxyProtocolFrom: readonly string[];
}

/**
 * `proxy`: its PROXY header is awaited; `silent`: its first bytes are; `handshake`: it has a place, or waits
 * for one; `session`: handed over to its owner.
 */
type Phase = 'proxy' | 'silent' | 'handshake' | 'open' | 'session';

interface Connection {
  readonly raw: Socket;
  address: string;
  /** The address that counts against the cap per address; a trusted balancer's own does not. */
  counted: string | undefined;
  readonly acceptedAt: number;
  phase: Phase;
  /** Requests without a complete answer. */
  requests: number;
  sni: string | undefined;
  /** Subject of the client certificate it showed. */
  subject: string | undefined;
  /** It asked for something, or tried to. */
  spoke: boolean;
}

/** Sockets looked at to find a silent one, at each accept beyond a limit. */
const MOST_LOOKED_AT = 64;
/** How often deadlines are looked at: one sweep for all sockets instead of a timer each. */
const SWEEP_MS = 250;
const CONNECTION = Symbol('connection');
/** Both the TCP socket and the TLS socket over it carry their connection. */
type Tracked = Socket & { [CONNECTION]?: Connection | undefined };

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
  readonly #speaksHttp1: boolean;
  readonly #connections = new Set<Connection>();
  /** Sockets whose handshake is not done, oldest first. */
  readonly #unfinished = new Set<Connection>();
  readonly #places: HandshakePlaces<Connection>;
  readonly #perAddress = new AddressLimit();
  readonly #sampler: LogSampler;
  readonly #handshakeLog: HandshakeLog;
  readonly #proxies: CidrList;
  /** Node's own handler of `connection`, which starts the handshake. */
  readonly #handshake: (socket: Socket) => void;
  /** One listener for all sockets; `this` is the socket. */
  readonly #onRawClose: (this: Tracked) => void;
  #served: CertificateBundle;
  #sweep: Timer | undefined;
  #stopping = false;

  /**
   * @param serve what answers requests, or makes a server that speaks something else than HTTP/1.1 over TLS
   */
  constructor(
    components: TlsServerComponents,
    options: () => TlsServerOptions,
    serve?: RequestListener | { create(tls: TlsOptions): TlsOnlyServer },
  ) {
    const { name, tls, limits } = options();
    this.#components = components;
    this.#options = options;
    this.#name = name;
    this.#served = components.source.current();
    this.#sampler = new LogSampler({ clock: components.clock });
    this.#handshakeLog = new HandshakeLog(components, name, () => this.#served.server.names);
    this.#proxies = new CidrList(limits.proxyProtocolFrom);
    const secure = { ...tlsOptions(this.#served, tls), ...CLIENT_AUTH, SNICallback: rememberName };
    this.#speaksHttp1 = typeof serve !== 'object';
    this.server =
      typeof serve === 'object'
        ? (serve.create(secure) as Server)
        : createServer(
            {
              ...secure,
              noDelay: true,
              connectionsCheckingInterval: 500,
              requestTimeout: limits.requestTimeoutMs,
              headersTimeout: limits.requestTimeoutMs,
            },
            serve,
          );
    const begin = this.server.listeners('connection') as ((socket: Socket) => void)[];
    this.#handshake = (socket) => {
      for (const listener of begin) listener.call(this.server, socket);
    };
    this.#places = new HandshakePlaces(
      { limit: () => this.#options().limits.handshakes, now: () => components.clock.monotonic() },
      ({ raw }) => this.#handshake(raw),
    );
    const closed = (connection: Connection | undefined) => connection && this.#closed(connection);
    this.#onRawClose = function () {
      closed(this[CONNECTION]);
    };
    this.server.removeAllListeners('connection');
    this.server.on('connection', (socket: Socket) => this.#accept(socket));
    // Before the HTTP part's own listener, so that whoever sees the socket finds it tracked.
    this.server.prependListener('secureConnection', (secure) => this.#secured(secure));
    this.server.on('tlsClientError', (error, secure) =>
      this.#handshakeLog.failed(error, connectionOf(secure)),
    );
    if (this.#speaksHttp1)
      this.server.prependListener('request', (request, response) => this.#countRequest(request, response));
  }

  /** Binds and serves `source.current()`. @throws LISTEN_FAILED */
  async start(): Promise<void> {
    const { host, port } = this.#options();
    this.applyBundle(this.#components.source.current());
    await new Promise<void>((resolve, reject) => {
      const failed = (cause: Error) => reject(this.#listenFailed(describeError(cause), cause));
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

  /** Serves `next` off to the side, with the options the real server would have. */
  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void> {
    const policy = this.#options().tls;
    return tryTlsBundle(next, { policy, ...(this.#speaksHttp1 ? {} : { alpn: 'h2' }) }, visit);
  }

  handshake(request: HandshakeRequest): Promise<HandshakeResult> {
    return tlsHandshake(request, this.#speaksHttp1 ? undefined : 'h2');
  }

  servedFingerprint(): string {
    return this.#served.fingerprint;
  }

  /** @throws LISTEN_FAILED when it does not listen */
  address(): ListenAddress {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw this.#listenFailed('it does not listen');
    return { host: address.address, port: address.port };
  }

  /**
   * The peer's address, as a trusted balancer told it where there is one. For logs and limits, never for
   * identity (H7).
   */
  remoteAddress(socket: Socket): string {
    const connection = (socket as Tracked)[CONNECTION];
    // Whoever handles a request, an upgrade or an error asks this; listeners of our own would change what
    // Node does without any.
    if (connection) connection.spoke = true;
    return connection?.address ?? plainAddress(socket.remoteAddress);
  }

  /** When the socket was accepted, milliseconds on the monotonic clock. */
  acceptedAt(socket: Socket): number | undefined {
    return (socket as Tracked)[CONNECTION]?.acceptedAt;
  }

  /**
   * From here on the socket is a session: {@link stop} leaves it to its owner; it still counts for the caps.
   */
  handOver(socket: Socket): void {
    const connection = (socket as Tracked)[CONNECTION];
    if (connection) connection.phase = 'session';
    forgetPeer(socket);
  }

  /** Open sockets of all phases. */
  get size(): number {
    return this.#connections.size;
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
    for (const { phase, raw } of [...this.#connections]) if (phase !== 'session') raw.destroy();
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  /** Destroys what has no request under way. @returns how many have */
  #endIdle(): number {
    let busy = 0;
    for (const { phase, raw, requests } of [...this.#connections]) {
      if (phase === 'open' && requests > 0) busy++;
      else if (phase !== 'session') raw.destroy();
    }
    return busy;
  }

  #countRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = (request.socket as Tracked)[CONNECTION];
    if (!connection) return;
    connection.spoke = true;
    connection.requests++;
    response.once('close', () => {
      connection.requests--;
    });
  }

  #accept(raw: Tracked): void {
    const { clock, metrics } = this.#components;
    const { limits } = this.#options();
    const address = plainAddress(raw.remoteAddress);
    if (this.#stopping) {
      raw.destroy();
      return;
    }
    if (this.#connections.size >= limits.connections && !this.#endSilent('connections')) {
      this.#refuse(raw, address, 'connections');
      return;
    }
    const viaProxy = this.#proxies.has(address);
    if (!viaProxy && !this.#countAddress(address)) {
      this.#refuse(raw, address, 'connections-per-ip');
      return;
    }
    const { descriptors } = this.#components;
    if (descriptors && !descriptors.take() && !(this.#endSilent('descriptors') && descriptors.take())) {
      if (!viaProxy) this.#perAddress.remove(address);
      this.#refuse(raw, address, 'descriptors');
      return;
    }
    const connection: Connection = {
      raw,
      address,
      counted: viaProxy ? undefined : address,
      acceptedAt: clock.monotonic(),
      phase: viaProxy ? 'proxy' : 'silent',
      requests: 0,
      sni: undefined,
      subject: undefined,
      spoke: false,
    };
    raw[CONNECTION] = connection;
    this.#connections.add(connection);
    this.#unfinished.add(connection);
    metrics.connections.inc({ transport: this.#name });
    raw.on('error', ignore);
    raw.on('close', this.#onRawClose);
    if (viaProxy) this.#awaitProxyHeader(connection);
    else this.#listen(connection);
  }

  #refuse(raw: Socket, remoteAddress: string, limit: string): void {
    raw.on('error', ignore);
    // A reset, not an orderly end: no state is kept for a peer that is not let in.
    raw.resetAndDestroy();
    const { log, metrics } = this.#components;
    metrics.connectionsRefused.inc({ transport: this.#name, limit });
    const suppressed = this.#sampler.pass(`limit ${limit}`);
    if (suppressed !== undefined)
      log.warn({ remoteAddress, limit, suppressed }, 'a connection was refused by a limit');
  }

  /** A place among the handshakes is asked for when there is something to do (N1, I2). */
  #listen(connection: Connection): void {
    connection.phase = 'silent';
    awaitClientHello(connection.raw, () => {
      connection.phase = 'handshake';
      this.#places.ask(connection);
    });
  }

  #countAddress(address: string): boolean {
    const { connectionsPerIp } = this.#options().limits;
    if (this.#perAddress.add(address, connectionsPerIp)) return true;
    return this.#endSilent('connections-per-ip', address) && this.#perAddress.add(address, connectionsPerIp);
  }

  /**
   * Ends the socket that has been silent longest, in favour of a newcomer, who speaks at once when he is no
   * stranger. @param address only one of this address @returns false when there was none
   */
  #endSilent(limit: string, address?: string): boolean {
    let looked = 0;
    for (const connection of this.#unfinished) {
      if (connection.phase === 'silent' && (address === undefined || connection.counted === address)) {
        this.#components.metrics.connectionsRefused.inc({ transport: this.#name, limit });
        connection.raw.resetAndDestroy();
        this.#closed(connection);
        return true;
      }
      if (++looked >= MOST_LOOKED_AT) return false;
    }
    return false;
  }

  #awaitProxyHeader(connection: Connection): void {
    const { raw } = connection;
    awaitProxyHeader(raw, (header) => {
      if (header.kind === 'invalid') {
        this.#handshakeLog.noProxyHeader(connection);
        raw.destroy();
        return;
      }
      if (header.address !== undefined) {
        connection.address = header.address;
        if (!this.#countAddress(header.address)) {
          this.#refuse(raw, header.address, 'connections-per-ip');
          return;
        }
        connection.counted = header.address;
      }
      this.#listen(connection);
    });
  }

  #secured(secure: Tracked & TLSSocket): void {
    const connection = connectionOf(secure);
    if (!connection) {
      secure.destroy();
      return;
    }
    secure[CONNECTION] = connection;
    connection.sni = undefined;
    this.#leaveHandshake(connection);
    connection.phase = 'open';
    // OpenSSL's own look at a client's chain may leave a failed signature in its error queue (two CAs of one
    // name), which Node 24 would take for a failure of the next read on any connection. Reading the
    // certificate empties the queue.
    connection.subject = peerCertificates(secure).leaf?.subject;
  }

  #leaveHandshake(connection: Connection): void {
    this.#unfinished.delete(connection);
    if (connection.phase === 'handshake') this.#places.leave(connection);
  }

  #closed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#leaveHandshake(connection);
    const { phase, subject, spoke } = connection;
    if (this.#speaksHttp1 && phase === 'open' && subject !== undefined && !spoke && !this.#stopping)
      this.#handshakeLog.left(connection, subject);
    if (connection.counted !== undefined) this.#perAddress.remove(connection.counted);
    this.#components.descriptors?.give();
    this.#components.metrics.connections.dec({ transport: this.#name });
  }

  #sweepDeadlines(): void {
    const { requestTimeoutMs, handshakeTimeoutMs } = this.#options().limits;
    if (this.#speaksHttp1) {
      this.server.headersTimeout = requestTimeoutMs;
      this.server.requestTimeout = requestTimeoutMs;
    }
    this.#places.sweep();
    const latest = this.#components.clock.monotonic() - handshakeTimeoutMs;
    for (const connection of this.#unfinished) {
      if (connection.acceptedAt > latest) break;
      this.#handshakeLog.late(connection);
      connection.raw.destroy();
      this.#unfinished.delete(connection);
    }
  }

  #listenFailed(problem: string, cause?: unknown): SallyportError {
    const { host, port } = this.#options();
    return new SallyportError(
      'LISTEN_FAILED',
      { address: `${host}:${port}`, listener: this.#name, problem },
      cause,
    );
  }
}

const STOP_POLL_MS = 20;

/**
 * Node keeps the TCP socket under a server's TLS socket in `_parent`; without it the socket is a stranger and
 * is ended.
 */
function connectionOf(secure: TLSSocket | undefined): Connection | undefined {
  return (secure as { _parent?: Tracked } | undefined)?._parent?.[CONNECTION];
}

/**
 * Only keeps the name for the log of a handshake that fails (B3; Node tells it afterwards only for one that
 * succeeds), and lets Node serve its one context. Node calls it as a method of the TLS socket.
 */
function rememberName(this: unknown, name: string, done: (error: Error | null) => void): void {
  const connection = connectionOf(this as TLSSocket);
  if (connection) connection.sni = name;
  done(null);
}

/** A socket without an `error` listener would end the process. */
function ignore(): void {}
