import { randomBytes, randomUUID } from 'node:crypto';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { ListenAddress } from '../../contracts/listener.ts';
import { ByteDuplex } from '../../protocol/byte-duplex.ts';
import { type CloseReason, closeByEdge, closeReason, closeText } from '../../protocol/close-reasons.ts';
import { WEBTRANSPORT_PATH, WEBTRANSPORT_WINDOWS } from '../../protocol/webtransport.ts';
import type { EdgeSession, EdgeSessionEvents } from '../framed/edge-session.ts';
import type { Judged } from './http2-endpoint.ts';
import type { LibrarySession, WebTransportLibrary } from './library.ts';

/** What a request over HTTP/3 asks for. */
export interface Http3Request {
  readonly ticket: string | undefined;
}

export interface Http3EndpointEvents {
  /** A promise never rejects. */
  onRequest(request: Http3Request): Judged | Promise<Judged>;
}

interface RequestAnswer {
  readonly status: number;
  readonly path: string;
  readonly userData?: { readonly opening: string };
}

type Http3Server = InstanceType<WebTransportLibrary['Http3Server']>;

/**
 * How long sessions may take to read that they are to come back, before the server they live in is replaced.
 */
const DRAIN_MS = 1_000;
/** How long the native part may take to bind its port, and a session that was let in to appear. */
const START_MS = 5_000;

/**
 * HTTP/3 by the library's native part: QUIC and TLS are its own, without client certificates and without a
 * way to change the server's. It therefore lets in tickets alone, and a new bundle means a new server.
 */
export class Http3Endpoint {
  readonly #library: WebTransportLibrary;
  readonly #events: Http3EndpointEvents;
  readonly #sessions = new Set<Http3Session>();
  /** Requests that were let in and are not sessions yet. */
  readonly #letIn = new Map<string, (session: EdgeSession) => void>();
  #address: ListenAddress | undefined;
  #server: Http3Server | undefined;

  constructor(library: WebTransportLibrary, events: Http3EndpointEvents) {
    this.#library = library;
    this.#events = events;
  }

  /** Rejects with the library's error when the UDP port cannot be bound. */
  async start(address: ListenAddress, bundle: CertificateBundle): Promise<void> {
    this.#address = address;
    this.#server = await this.#serve(address, bundle);
  }

  /** Asks the sessions to come back, then serves `next`. */
  async replace(next: CertificateBundle): Promise<void> {
    if (!this.#address) return;
    for (const session of this.#sessions) {
      const reason = closeReason('Rebalance', DRAIN_MS + Math.random() * DRAIN_MS);
      session.close(reason.code, closeText(reason));
    }
    const deadline = performance.now() + DRAIN_MS;
    while (this.#sessions.size > 0 && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 20));
    this.stop();
    this.#server = await this.#serve(this.#address, next);
  }

  stop(): void {
    this.#letIn.clear();
    this.#server?.stopServer();
    this.#server = undefined;
  }

  async #serve({ host, port }: ListenAddress, { server: pair }: CertificateBundle): Promise<Http3Server> {
    const server = new this.#library.Http3Server({
      ...WEBTRANSPORT_WINDOWS,
      host,
      port,
      // Of the address validation tokens; lives as long as the server.
      secret: randomBytes(32).toString('hex'),
      cert: pair.cert,
      privKey: pair.key,
    });
    server.setRequestCallback(async ({ header }: { header: Record<string, string> }) => this.#judge(header));
    const sessions = server.sessionStream(WEBTRANSPORT_PATH) as unknown as AsyncIterable<LibrarySession>;
    server.startServer();
    await inTime(server.ready);
    void this.#accept(sessions);
    return server;
  }

  async #judge(header: Record<string, string>): Promise<RequestAnswer> {
    const url = URL.parse(header[':path'] ?? '', 'https://hub');
    if (url?.pathname !== WEBTRANSPORT_PATH) return { status: 404, path: WEBTRANSPORT_PATH };
    const ticket = url.searchParams.get('ticket') ?? undefined;
    const judged = await this.#events.onRequest({ ticket });
    if (typeof judged !== 'function') return { status: judged.status, path: WEBTRANSPORT_PATH };
    const opening = randomUUID();
    this.#letIn.set(opening, judged);
    setTimeout(() => this.#letIn.delete(opening), START_MS).unref();
    return { status: 200, path: WEBTRANSPORT_PATH, userData: { opening } };
  }

  async #accept(sessions: AsyncIterable<LibrarySession>): Promise<void> {
    for await (const session of sessions) {
      const { opening = '' } = (session.userData ?? {}) as { opening?: string };
      const letIn = this.#letIn.get(opening);
      this.#letIn.delete(opening);
      const one = new Http3Session(session, () => this.#sessions.delete(one));
      this.#sessions.add(one);
      if (letIn) letIn(one);
      else one.destroy();
    }
  }
}

/** The library says nothing at all when its native part cannot bind. */
async function inTime(ready: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('HTTP/3 did not start in time')), START_MS);
  });
  await Promise.race([ready, late]).finally(() => clearTimeout(timer));
}

/** One session over HTTP/3. */
class Http3Session implements EdgeSession {
  readonly remoteAddress: string;
  readonly startedAt = performance.now();
  readonly rttMs = undefined;
  readonly #session: LibrarySession;
  #events: EdgeSessionEvents | undefined;
  #duplex: ByteDuplex | undefined;
  #over: { readonly reason: CloseReason | undefined } | undefined;

  constructor(session: LibrarySession, onOver: () => void) {
    this.#session = session;
    this.remoteAddress = session.peerAddress?.replace(/:\d+$/, '') ?? '';
    for (const promise of [session.ready, session.draining]) promise.catch(() => {});
    const ended = (reason: CloseReason | undefined) => {
      this.#over = { reason };
      this.#duplex?.destroy();
      onOver();
      this.#events?.onClosed(reason);
    };
    session.closed.then(
      ({ closeCode }) => ended(closeByEdge(closeCode)),
      () => ended(undefined),
    );
  }

  follow(events: EdgeSessionEvents): void {
    this.#events = events;
    if (this.#over) events.onClosed(this.#over.reason);
    this.#session.incomingBidirectionalStreams
      .getReader()
      .read()
      .then(({ value, done }) => {
        if (done || this.#over) return;
        this.#duplex = new ByteDuplex(value);
        this.#duplex.on('error', () => {});
        this.#events?.onControl(this.#duplex);
      })
      .catch(() => {});
  }

  close(code: number, text: string): void {
    if (!this.#over) this.#session.close({ closeCode: code, reason: text });
  }

  destroy(): void {
    this.close(closeReason('Normal').code, '');
  }
}
