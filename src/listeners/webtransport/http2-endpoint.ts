import {
  constants,
  createSecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../core/clock.ts';
import { encodeFacts, FACTS_HEADER, type PeerFacts } from '../../protocol/peer-facts.ts';
import {
  WEBTRANSPORT_PATH,
  WEBTRANSPORT_REMOTE_SETTINGS,
  WEBTRANSPORT_SETTINGS,
} from '../../protocol/webtransport.ts';
import type { EdgeSession } from '../framed/edge-session.ts';
import { keyExchange } from '../key-exchange.ts';
import { TlsServer, type TlsServerComponents } from '../tls-server.ts';
import { Http2Session } from './http2-session.ts';
import type { Http2Engine } from './library.ts';
import type { WebTransportListenerOptions } from './options.ts';

/** What a request asks for, before anything is upgraded. */
export interface SessionRequest {
  readonly socket: TLSSocket;
  readonly remoteAddress: string;
  /** Header `node_id`; undefined when it is not given, or more than once. */
  readonly nodeId: string | undefined;
  readonly ticket: string | undefined;
}

/** An answer instead of a session. */
export interface SessionRefusal {
  readonly status: number;
  readonly reason: string;
  readonly detail: string;
  readonly retryAfterMs?: number | undefined;
  readonly facts?: PeerFacts | undefined;
}

/** What becomes of a request: a refusal, or what to do with the session. */
export type Judged = SessionRefusal | ((session: EdgeSession) => void);

export interface Http2EndpointEvents {
  /** Judges a request; a promise never rejects. */
  onRequest(request: SessionRequest): Judged | Promise<Judged>;
  /** A request that asks for something else than a session. */
  onUnwanted(detail: string, remoteAddress: string): void;
}

/**
 * HTTP/2 of one connection: one session needs one stream; the others are for answers to requests that ask for
 * something else.
 */
const MAX_STREAMS = 4;
/** How long a refused peer may take to read why. */
const LINGER_MS = 1_000;

/**
 * HTTP/2 over TLS with client certificates: lets nobody but {@link Http2EndpointEvents.onRequest} decide who
 * gets a session.
 */
export class Http2Endpoint {
  readonly tls: TlsServer;
  readonly #clock: Clock;
  readonly #options: () => WebTransportListenerOptions;
  readonly #engine: () => Http2Engine;
  readonly #events: Http2EndpointEvents;
  /** HTTP/2 connections without a session → their deadline. */
  readonly #idle = new Map<ServerHttp2Session, Timer>();

  constructor(
    components: TlsServerComponents & { engine: () => Http2Engine; events: Http2EndpointEvents },
    options: () => WebTransportListenerOptions,
  ) {
    this.#clock = components.clock;
    this.#options = options;
    this.#engine = components.engine;
    this.#events = components.events;
    this.tls = new TlsServer(components, () => ({ ...options(), name: 'webtransport' as const }), {
      alpn: 'h2',
      create: (tls) => {
        const server = createSecureServer({
          ...tls,
          allowHTTP1: false,
          settings: { ...WEBTRANSPORT_SETTINGS, maxConcurrentStreams: MAX_STREAMS },
          remoteCustomSettings: [...WEBTRANSPORT_REMOTE_SETTINGS],
          maxSessionMemory: 16,
          maxOutstandingPings: 4,
          maxHeaderListPairs: 64,
          // A peer that resets its streams as fast as it opens them (CVE-2023-44487).
          streamResetBurst: 16,
          streamResetRate: 1,
          unknownProtocolTimeout: LINGER_MS,
        });
        // OpenSSL tries a peer's chain by name; of CAs that share one (requirement C2) it may try the wrong,
        // and leaves the fault in its queue, where Node takes it for a fault of the next read when the first
        // bytes came together with the handshake's last. Reading the certificate empties the queue. Over
        // HTTP/1 the gate does so in time.
        server.on('secureConnection', (socket) => socket.getPeerX509Certificate());
        server.on('session', (session) => this.#onConnection(session));
        server.on('sessionError', ignore);
        server.on('stream', (stream, headers) => this.#onStream(stream, headers));
        return server;
      },
    });
  }

  #onConnection(connection: ServerHttp2Session): void {
    connection.on('error', ignore);
    // All sessions of a connection share one window; without this it would be the 64 KiB of RFC 9113 §6.9.2.
    connection.setLocalWindowSize(WEBTRANSPORT_SETTINGS.initialWindowSize);
    this.#expectSession(connection);
    connection.once('close', () => this.#forget(connection));
  }

  /** A connection that carries no session ends after the time for a whole request (requirement I2). */
  #expectSession(connection: ServerHttp2Session): void {
    const { requestTimeoutMs } = this.#options().limits;
    this.#idle.set(
      connection,
      this.#clock.setTimeout(() => connection.destroy(), requestTimeoutMs),
    );
  }

  #forget(connection: ServerHttp2Session): void {
    this.#idle.get(connection)?.cancel();
    this.#idle.delete(connection);
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    stream.on('error', ignore);
    const connection = stream.session as ServerHttp2Session | undefined;
    const url = parsePath(headers[':path']);
    if (!connection || connection.destroyed) return;
    const socket = connection.socket as TLSSocket;
    const unwanted = this.#unwanted(connection, headers, url);
    if (unwanted) {
      this.#events.onUnwanted(unwanted.detail, this.tls.remoteAddress(socket));
      this.#answer(stream, unwanted);
      return;
    }
    const remoteAddress = this.tls.remoteAddress(socket);
    const nodeId = headers.node_id;
    const judged = this.#events.onRequest({
      socket,
      remoteAddress,
      nodeId: typeof nodeId === 'string' ? nodeId : undefined,
      ticket: url?.searchParams.get('ticket') ?? undefined,
    });
    const act = (known: Judged) => this.#onJudged(known, { stream, headers, connection, remoteAddress });
    if (judged instanceof Promise) void judged.then(act);
    else act(judged);
  }

  #onJudged(
    judged: Judged,
    {
      stream,
      headers,
      connection,
      remoteAddress,
    }: {
      stream: ServerHttp2Stream;
      headers: IncomingHttpHeaders;
      connection: ServerHttp2Session;
      remoteAddress: string;
    },
  ): void {
    if (typeof judged !== 'function') {
      this.#answer(stream, judged);
      return;
    }
    // While another replica was asked, the peer may have gone, or another request have got the session of
    // this connection.
    if (stream.destroyed || !this.#idle.has(connection)) {
      stream.destroy();
      return;
    }
    const socket = connection.socket as TLSSocket;
    this.#forget(connection);
    this.tls.handOver(socket);
    const startedAt = this.tls.acceptedAt(socket) ?? this.#clock.monotonic();
    try {
      const facts = { remoteAddress, startedAt, keyExchange: keyExchange(socket) };
      judged(new Http2Session(this.#engine(), stream, headers, facts));
    } catch {
      // The stream ended in the same turn.
      connection.destroy();
    }
  }

  /** A request that asks for something else than one session at the path. */
  #unwanted(
    connection: ServerHttp2Session,
    headers: IncomingHttpHeaders,
    url: URL | undefined,
  ): SessionRefusal | undefined {
    const no = (status: number, detail: string) => ({ status, reason: 'protocol', detail });
    if (headers[':method'] !== 'CONNECT' || headers[':protocol'] !== 'webtransport')
      return no(406, `this port speaks WebTransport: https://<host>:<port>${WEBTRANSPORT_PATH}`);
    if (url?.pathname !== WEBTRANSPORT_PATH) return no(404, `sessions are opened at ${WEBTRANSPORT_PATH}`);
    return this.#idle.has(connection) ? undefined : no(409, 'a connection carries one session');
  }

  /**
   * Says no, and ends the connection: whoever was refused tries again with another certificate or ticket, on
   * another connection.
   */
  #answer(stream: ServerHttp2Stream, { status, reason, detail, retryAfterMs, facts }: SessionRefusal): void {
    if (stream.destroyed) return;
    const told = encodeFacts(facts);
    const text = detail.replace(/[^\x20-\x7e]+/g, ' ');
    stream.respond({
      ':status': status,
      'content-type': 'text/plain; charset=utf-8',
      'cache-control': 'no-store',
      'sallyport-reason': reason,
      // Clients of WebTransport are shown no body.
      'sallyport-detail': text,
      ...(told === undefined ? {} : { [FACTS_HEADER]: told }),
      ...(retryAfterMs === undefined
        ? {}
        : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }),
    });
    stream.end(`${text}\n`);
    stream.resume();
    const connection = stream.session;
    if (!connection || !this.#idle.has(connection as ServerHttp2Session)) return;
    connection.close();
    setTimeout(() => connection.destroy(undefined, constants.NGHTTP2_NO_ERROR), LINGER_MS).unref();
  }
}

function parsePath(path: string | undefined): URL | undefined {
  return path === undefined || path.length > 512 ? undefined : (URL.parse(path, 'https://hub') ?? undefined);
}

/** A socket or stream without an `error` listener would end the process. */
function ignore(): void {}
