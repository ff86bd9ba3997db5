import type { ServerHttp2Stream } from 'node:http2';
import type { ReadableStream } from 'node:stream/web';
import { importWithOptional, type OptionalImport } from '../../core/optional-import.ts';
import type { ByteStreamPair } from '../../protocol/byte-duplex.ts';
import { HTTP3_PACKAGE, WEBTRANSPORT_PATH, WEBTRANSPORT_WINDOWS } from '../../protocol/webtransport.ts';
import { CapsuleGuard } from './capsule-guard.ts';

export type WebTransportLibrary = typeof import('@fails-components/webtransport');

/**
 * Loads the library, only when WebTransport is enabled. `missing` says why there is no HTTP/3; undefined when
 * there is.
 */
export function loadWebTransportLibrary(): Promise<OptionalImport<WebTransportLibrary>> {
  return importWithOptional(HTTP3_PACKAGE, async () => {
    const library = await import('@fails-components/webtransport');
    await library.quicheLoaded;
    return library;
  });
}

/** A session of the library, as far as it is used here. */
export interface LibrarySession {
  readonly closed: Promise<{ readonly closeCode: number; readonly reason: string }>;
  readonly ready: Promise<void>;
  readonly draining: Promise<unknown>;
  readonly incomingBidirectionalStreams: ReadableStream<ByteStreamPair>;
  readonly peerAddress?: string;
  readonly userData?: unknown;
  close(info: { closeCode: number; reason: string }): void;
}

/** The library's inner server and parser (1.6.8), which its public interface does not show. */
interface Inside {
  createTransportInt(): Promise<void>;
  transportInt: {
    finishSessionRequest(request: object): void;
    serverInt: { removeAllListeners(): void };
  };
  sessionStream(path: string, options: object): ReadableStream<LibrarySession>;
  onHttpWTSessionVisitor(visit: { session: { capsParser: Parser; jsobj?: LibrarySession } }): void;
}

interface Parser {
  parseData(data: Buffer): void;
}

/**
 * The library's WebTransport over HTTP/2, without its server: our own HTTP/2 server has the TLS options,
 * limits and deadlines of every other listener, and hands over requests that were let in. The one place that
 * looks inside the library.
 */
export class Http2Engine {
  readonly #inside: Inside;
  #opened: LibrarySession | undefined;

  private constructor(inside: Inside) {
    this.#inside = inside;
    const visit = inside.onHttpWTSessionVisitor.bind(inside);
    inside.onHttpWTSessionVisitor = (event) => {
      visit(event);
      this.#opened = event.session.jsobj;
    };
  }

  /** @param pair certificate and key; the library insists on having them and never serves them */
  static async create(
    library: WebTransportLibrary,
    pair: { cert: string; key: string },
  ): Promise<Http2Engine> {
    const server = new library.Http2Server({
      ...WEBTRANSPORT_WINDOWS,
      port: 0,
      host: '127.0.0.1',
      secret: 'unused over HTTP/2',
      cert: pair.cert,
      privKey: pair.key,
    });
    const inside = server as unknown as Inside;
    await inside.createTransportInt();
    return new Http2Engine(inside);
  }

  /**
   * Answers 200 and makes the session. `onFault` is told once, when the peer sends what no edge sends or the
   * library cannot digest; nothing more is given to the library then.
   * @throws when the stream has ended meanwhile
   */
  open(
    stream: ServerHttp2Stream,
    header: object,
    onFault: (problem: string) => void,
  ): { readonly session: LibrarySession; readonly guard: CapsuleGuard } {
    const guard = new CapsuleGuard();
    let faulty = false;
    const fault = (problem: string) => {
      if (!faulty) onFault(problem);
      faulty = true;
    };
    const visit = this.#inside.onHttpWTSessionVisitor;
    this.#opened = undefined;
    this.#inside.onHttpWTSessionVisitor = (event) => {
      const parser = event.session.capsParser;
      const parse = parser.parseData.bind(parser);
      parser.parseData = (data) => {
        if (faulty) return;
        const problem = guard.check(data);
        if (problem !== undefined) return fault(problem);
        try {
          parse(data);
        } catch {
          fault('the capsules cannot be understood');
        }
      };
      visit(event);
    };
    try {
      this.#inside.transportInt.finishSessionRequest({
        header,
        peerAddress: '',
        session: stream,
        status: 200,
        protocol: 'capsule',
        path: WEBTRANSPORT_PATH,
      });
    } finally {
      this.#inside.onHttpWTSessionVisitor = visit;
    }
    const session = this.#opened as LibrarySession | undefined;
    if (!session) throw new Error('the library made no session');
    return { session, guard };
  }
}
