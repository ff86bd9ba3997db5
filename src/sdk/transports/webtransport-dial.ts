import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { importWithOptional } from '../../core/optional-import.ts';
import type { ByteStreamPair } from '../../protocol/byte-duplex.ts';
import {
  HTTP3_PACKAGE,
  WEBTRANSPORT_PATH,
  WEBTRANSPORT_REMOTE_SETTINGS,
  WEBTRANSPORT_SETTINGS,
  WEBTRANSPORT_WINDOWS,
} from '../../protocol/webtransport.ts';
import { parseRetryAfter } from '../hub-request.ts';
import type { EdgeCredentials, Refusal } from './transport.ts';

/** The library's session at the edge, as far as it is used here. */
export interface ClientSession {
  readonly ready: Promise<void>;
  readonly closed: Promise<{ readonly closeCode: number; readonly reason: string }>;
  readonly draining: Promise<unknown>;
  createBidirectionalStream(): Promise<ByteStreamPair>;
  close(info: { closeCode: number; reason: string }): void;
}

/** One attempt to open a session. */
export interface Dialled {
  readonly session: ClientSession;
  readonly connection: ClientHttp2Session;
  /** What the hub answered instead of a session. */
  refusal(): Refusal | undefined;
  /** What broke the connection. */
  failure(): Error | undefined;
}

/** The library's client for HTTP/2 (1.6.8), which its public interface does not show. */
interface InnerClient {
  clientInt: ClientHttp2Session;
  jsobj: {
    onClientConnected(event: { success: boolean }): void;
    onClientWebTransportSupport(event: object): void;
  };
  createTransport(): void;
}

interface MadeClient {
  readonly client: { args: { createReliableClient(client: unknown): InnerClient } };
}

/**
 * Opens a WebTransport session over HTTP/2 with a client certificate. The library's client takes none, but
 * all it does with its connection is to wait for `connect` and the peer's settings: so the connection is made
 * here, with Node's own HTTP/2 and mutual TLS, and given to the library's client
 * (docs/decisions/webtransport.md).
 */
export async function dialWebTransport(
  address: string,
  { ca, certificate, key, node }: EdgeCredentials,
  { projectId, connectTimeoutMs }: { projectId: string; connectTimeoutMs: number },
): Promise<Dialled> {
  const { module: library } = await importWithOptional(HTTP3_PACKAGE, async () => {
    const loaded = await import('@fails-components/webtransport');
    await loaded.quicheLoaded;
    return loaded;
  });
  let refusal: Refusal | undefined;
  let failure: Error | undefined;
  const connection = connect(`https://${address}`, {
    ca,
    cert: certificate,
    key,
    ...{ allowPartialTrustChain: true },
    minVersion: 'TLSv1.2',
    settings: { ...WEBTRANSPORT_SETTINGS, enablePush: false },
    remoteCustomSettings: [...WEBTRANSPORT_REMOTE_SETTINGS],
  });
  connection.on('error', (error) => {
    failure ??= error;
  });
  connection.once('connect', () => connection.setLocalWindowSize(WEBTRANSPORT_SETTINGS.initialWindowSize));
  const request = connection.request.bind(connection);
  connection.request = (headers, options) => {
    const more = { ...headers, node_id: node, project_id: projectId } as OutgoingHttpHeaders;
    const stream = request(more, options);
    followAnswer(stream, (answer) => {
      refusal = answer;
    });
    return stream;
  };

  const Base = library.WebTransport as unknown as new (url: string, args: object) => ClientSession;
  class MutualTlsWebTransport extends Base {
    createClient(args: object): MadeClient {
      const inherited = Base.prototype as { createClient(args: object): MadeClient };
      const made = inherited.createClient.call(this, args);
      const make = made.client.args.createReliableClient;
      made.client.args.createReliableClient = (client) => {
        const inner = make(client);
        inner.createTransport = () => attach(inner, connection);
        return inner;
      };
      return made;
    }
  }
  const session = new MutualTlsWebTransport(`https://${address}${WEBTRANSPORT_PATH}`, {
    ...WEBTRANSPORT_WINDOWS,
    initialBidirectionalSendStreams: WEBTRANSPORT_WINDOWS.initialBidirectionalStreams,
    initialUnidirectionalSendStreams: WEBTRANSPORT_WINDOWS.initialUnidirectionalStreams,
    forceReliable: true,
    quicConnectTimeout: connectTimeoutMs,
    webTransportConnectTimeout: connectTimeoutMs,
  });
  // Whoever waits for them does so elsewhere; a rejection nobody waits for would end the process.
  for (const promise of [session.ready, session.closed, session.draining]) promise.catch(() => {});
  return { session, connection, refusal: () => refusal, failure: () => failure };
}

/** Tells the library's client what it would have learned from a connection of its own. */
function attach(inner: InnerClient, connection: ClientHttp2Session): void {
  let told = false;
  const tell = (success: boolean) => {
    if (!told) inner.jsobj.onClientConnected({ success });
    told = true;
  };
  inner.clientInt = connection;
  connection.once('connect', () => tell(true));
  connection.once('close', () => tell(false));
  connection.on('remoteSettings', ({ enableConnectProtocol }) => {
    if (enableConnectProtocol) inner.jsobj.onClientWebTransportSupport({});
  });
}

function followAnswer(stream: ClientHttp2Stream, onRefusal: (refusal: Refusal) => void): void {
  // First in line, so that the answer is known when the library gives up. It would also take the body for
  // capsules.
  stream.prependOnceListener('response', (headers) => {
    const status = Number(headers[':status']);
    if (status === 200) return;
    stream.removeAllListeners('readable');
    stream.resume();
    const [word, detail] = [headers['sallyport-reason'], headers['sallyport-detail']];
    const retryAfterMs = parseRetryAfter(headers['retry-after'] as string | undefined);
    onRefusal({
      word: typeof word === 'string' ? word : undefined,
      status,
      detail: typeof detail === 'string' ? detail : `status ${status}`,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  });
}
