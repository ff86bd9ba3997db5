import type { ServerHttp2Stream } from 'node:http2';
import type { KeyExchange } from '../../core/tls-groups.ts';
import { ByteDuplex } from '../../protocol/byte-duplex.ts';
import { type CloseReason, closeByEdge, closeReason, closeText } from '../../protocol/close-reasons.ts';
import type { EdgeSession, EdgeSessionEvents } from '../framed/edge-session.ts';
import type { Http2Engine, LibrarySession } from './library.ts';

/** How long a peer may take to read why its session ended. */
const LINGER_MS = 1_000;

export interface Http2SessionFacts {
  readonly remoteAddress: string;
  readonly startedAt: number;
  readonly keyExchange: KeyExchange | undefined;
}

/** One session over HTTP/2, with the whole TCP connection to itself: when it ends, so does the connection. */
export class Http2Session implements EdgeSession {
  readonly remoteAddress: string;
  readonly startedAt: number;
  readonly keyExchange: KeyExchange | undefined;
  readonly #stream: ServerHttp2Stream;
  readonly #session: LibrarySession;
  #duplex: ByteDuplex | undefined;
  #events: EdgeSessionEvents | undefined;
  #reason: CloseReason | undefined;
  #rttMs: number | undefined;

  constructor(engine: Http2Engine, stream: ServerHttp2Stream, header: object, facts: Http2SessionFacts) {
    this.#stream = stream;
    this.remoteAddress = facts.remoteAddress;
    this.startedAt = facts.startedAt;
    this.keyExchange = facts.keyExchange;
    stream.once('close', () => this.#ended());
    this.#session = engine.open(stream, header, () => {
      const reason = closeReason('ProtocolError');
      this.#reason = reason;
      this.close(reason.code, closeText(reason));
    }).session;
    for (const promise of [this.#session.ready, this.#session.draining]) promise.catch(ignore);
    this.#session.closed.then(({ closeCode }) => {
      this.#reason ??= closeByEdge(closeCode);
    }, ignore);
    this.#measure();
  }

  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  follow(events: EdgeSessionEvents): void {
    this.#events = events;
    this.#session.incomingBidirectionalStreams
      .getReader()
      .read()
      .then(({ value, done }) => {
        if (done || this.#stream.destroyed) return;
        this.#duplex = new ByteDuplex(value);
        // Without a listener it would end the process; the session's end says the same.
        this.#duplex.on('error', ignore);
        this.#events?.onControl(this.#duplex);
      })
      .catch(ignore);
  }

  close(code: number, text: string): void {
    if (this.#stream.destroyed) return;
    this.#session.close({ closeCode: code, reason: text });
    const connection = this.#stream.session;
    // Real time: it is about a peer that does not read, not about a deadline somebody configures.
    setTimeout(() => {
      this.#stream.destroy();
      connection?.destroy();
    }, LINGER_MS).unref();
  }

  destroy(): void {
    const connection = this.#stream.session;
    this.#stream.destroy();
    connection?.destroy();
  }

  #measure(): void {
    const connection = this.#stream.session;
    if (!connection || connection.closed || connection.destroyed) return;
    connection.ping((error, durationMs) => {
      if (!error) this.#rttMs = durationMs;
    });
  }

  #ended(): void {
    // What the peer said with its close is told in a later turn than the stream's end.
    setImmediate(() => {
      this.#duplex?.destroy();
      const connection = this.#stream.session;
      if (connection && !connection.destroyed) {
        connection.close();
        setTimeout(() => connection.destroy(), LINGER_MS).unref();
      }
      this.#events?.onClosed(this.#reason);
    });
  }
}

function ignore(): void {}
