import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { setDefaultCACertificates } from 'node:tls';
import type { WebTransport, WebTransportOptions } from '@fails-components/webtransport';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { DEFAULT_TLS_GROUPS } from '../../../src/core/tls-groups.ts';
import { PeerGate } from '../../../src/identity/peer-gate.ts';
import { TicketBook } from '../../../src/identity/ticket-book.ts';
import type { WebTransportLibrary } from '../../../src/listeners/webtransport/library.ts';
import type { WebTransportListenerOptions } from '../../../src/listeners/webtransport/options.ts';
import { WebTransportListener } from '../../../src/listeners/webtransport/webtransport-listener.ts';
import { ByteDuplex, type ByteStreamPair } from '../../../src/protocol/byte-duplex.ts';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { type Frame, FrameDecoder } from '../../../src/protocol/codec-framed.ts';
import { DEFAULT_JSON_LIMITS } from '../../../src/protocol/json-scan.ts';
import {
  WEBTRANSPORT_REMOTE_SETTINGS,
  WEBTRANSPORT_SETTINGS,
  WEBTRANSPORT_WINDOWS,
} from '../../../src/protocol/webtransport.ts';
import type { EdgeLink } from '../../../src/sdk/transports/transport.ts';
import { WebTransportTransport } from '../../../src/sdk/transports/webtransport-transport.ts';
import { type FixedSource, freshSource } from '../pki/fixed-source.ts';
import { mintEdge, type Pair } from '../pki/pki.ts';
import { RecordingAcceptor, TestEdge } from './quic-rig.ts';
import { GENEROUS_TLS_LIMITS } from './tls-limits.ts';

export const WEBTRANSPORT_TEST_OPTIONS: WebTransportListenerOptions = {
  host: '127.0.0.1',
  port: 0,
  tls: { minVersion: 'TLSv1.2', groups: DEFAULT_TLS_GROUPS },
  limits: {
    ...GENEROUS_TLS_LIMITS,
    writeTimeoutMs: 30_000,
    drainMs: 50,
  },
  epoch: 'test',
  ...DEFAULT_JSON_LIMITS,
  maxMessageBytes: 16 * 1024 * 1024,
  maxPendingUpstream: 64,
  sessionBytes: 2 ** 31,
};

/** A WebTransport listener with everything it needs, on a free loopback port. Real time and sockets. */
export async function startWebTransport(
  {
    limits,
    ...options
  }: Partial<Omit<WebTransportListenerOptions, 'limits'>> & {
    limits?: Partial<WebTransportListenerOptions['limits']>;
  } = {},
  given?: { readonly ca: Pair; readonly source: FixedSource },
) {
  const { ca, source } = given ?? (await freshSource());
  const clock = systemClock;
  const acceptor = new RecordingAcceptor();
  const metrics = createMetrics({ process: false });
  const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
    allowLegacy: false,
    legacyNodes: {},
  }));
  const tickets = new TicketBook({ clock, stillTrusted: (identity) => gate.stillTrusted(identity) });
  const listener = new WebTransportListener(
    { source, gate, tickets, acceptor, clock, log: silentLogger, metrics },
    () => ({
      ...WEBTRANSPORT_TEST_OPTIONS,
      ...options,
      limits: { ...WEBTRANSPORT_TEST_OPTIONS.limits, ...limits },
    }),
  );
  await listener.start();
  const { port } = listener.address();
  const links: EdgeLink[] = [];
  return {
    ca,
    source,
    acceptor,
    metrics,
    listener,
    gate,
    tickets,
    port,
    /** Connects as a node, with its own certificate unless another is given. */
    async connect(node: string, { pair, trusted = ca }: { pair?: Pair; trusted?: Pair } = {}) {
      const link = await connectWebTransport(port, {
        ca: trusted,
        edge: pair ?? (await mintEdge(ca, node)),
        node,
      });
      links.push(link);
      return new TestEdge(link);
    },
    async [Symbol.asyncDispose]() {
      for (const link of links) link.close(closeReason('Normal'));
      await listener.stop(closeReason('Draining'), AbortSignal.abort());
    },
  };
}

/** One attempt of the SDK. @throws CONNECT_REFUSED, CONNECT_FAILED */
export function connectWebTransport(
  port: number,
  { ca, edge, node }: { ca: Pair; edge: Pair; node: string },
): Promise<EdgeLink> {
  const transport = new WebTransportTransport(
    { clock: systemClock, logger: silentLogger },
    { address: `127.0.0.1:${port}` },
  );
  return transport.connect(
    { node, ca: ca.pem, certificate: edge.pem, key: edge.key },
    {
      projectId: 'p',
      agent: 'test/1',
      maxMessageBytes: 16 * 1024 * 1024,
      connectTimeoutMs: 5_000,
      writeTimeoutMs: 30_000,
      signal: new AbortController().signal,
    },
  );
}

/**
 * Asks for a session as nobody in particular would: no client certificate unless one is given. Resolves with
 * the hub's answer.
 */
export async function askForSession(
  port: number,
  { path, headers = {}, edge, method = 'CONNECT' }: AskOptions,
): Promise<{
  status: number;
  headers: IncomingHttpHeaders;
  stream: ClientHttp2Stream;
  connection: ClientHttp2Session;
}> {
  const connection = connect(`https://127.0.0.1:${port}`, {
    rejectUnauthorized: false,
    ...(edge ? { cert: edge.pem, key: edge.key } : {}),
    settings: WEBTRANSPORT_SETTINGS,
    remoteCustomSettings: [...WEBTRANSPORT_REMOTE_SETTINGS],
  });
  connection.on('error', () => {});
  await once(connection, 'remoteSettings');
  const stream = connection.request(
    {
      ':method': method,
      ...(method === 'CONNECT' ? { ':protocol': 'webtransport', ':scheme': 'https' } : {}),
      ':path': path,
      ...headers,
    },
    { endStream: method !== 'CONNECT' },
  );
  stream.on('error', () => {});
  const [answer] = (await once(stream, 'response')) as [IncomingHttpHeaders];
  return { status: Number(answer[':status']), headers: answer, stream, connection };
}

interface AskOptions {
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly edge?: Pair;
  readonly method?: string;
}

/** What the library's client takes on Node beyond the W3C's options. */
const HTTP2 = { ...WEBTRANSPORT_WINDOWS, forceReliable: true } as WebTransportOptions;

/**
 * A program that knows WebTransport and nothing of Sallyport: the library's own client, without certificate,
 * as in a browser. It believes what `ca` signed.
 */
export class StrangerClient {
  readonly #session: WebTransport;
  readonly #frames: Frame[] = [];
  #stream: ByteDuplex | undefined;
  /** Code and text the session ended with; undefined when it was never opened. */
  readonly ended: Promise<{ closeCode?: number; reason?: string } | undefined>;

  /**
   * @param options.http3 to speak HTTP/3 to the hub whose certificate has this SHA-256; its QUIC part
   * believes hashes only
   */
  constructor(library: WebTransportLibrary, url: string, ca: Pair, options: { http3?: string } = {}) {
    setDefaultCACertificates([ca.pem]);
    const { http3 } = options;
    this.#session = new library.WebTransport(
      url,
      http3 === undefined
        ? HTTP2
        : {
            requireUnreliable: true,
            serverCertificateHashes: [{ algorithm: 'sha-256', value: Buffer.from(http3, 'hex') }],
          },
    );
    for (const promise of [this.#session.ready, this.#session.draining]) promise.catch(() => {});
    this.ended = this.#session.closed.catch(() => undefined);
  }

  get frames(): readonly Frame[] {
    return this.#frames;
  }

  /** @returns false when the hub gave no session */
  async open(): Promise<boolean> {
    const opened = await this.#session.ready.then(
      () => true,
      () => false,
    );
    if (!opened) return false;
    const { readable, writable } = await this.#session.createBidirectionalStream();
    this.#stream = new ByteDuplex({ readable, writable } as unknown as ByteStreamPair);
    const decoder = new FrameDecoder({ maxMessageBytes: 1 << 24 });
    this.#stream.on('error', () => {});
    this.#stream.on('data', (chunk: Buffer) => decoder.push(chunk, (frame) => this.#frames.push(frame)));
    return true;
  }

  write(frame: Uint8Array): void {
    this.#stream!.write(frame);
  }

  close(): void {
    this.#session.close({ closeCode: 0, reason: '' });
  }
}

/** One capsule as on the wire (RFC 9297 §3.2). */
export function capsule(type: number, payload: readonly number[]): Buffer {
  return Buffer.concat([varint(type), varint(payload.length), Buffer.from(payload)]);
}

/** RFC 9000 §16. */
export function varint(value: number): Buffer {
  if (value < 64) return Buffer.of(value);
  if (value < 2 ** 14) return Buffer.of(0x40 | (value >> 8), value & 0xff);
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE((0x80000000 | value) >>> 0);
  return bytes;
}
