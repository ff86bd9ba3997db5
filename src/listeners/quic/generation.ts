import { randomUUID } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { QuicServerSession } from '@currentspace/http3';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { Logger } from '../../core/log.ts';
import { QUIC_ALPN } from '../../protocol/quic-control.ts';
import type { SteeringTarget } from './flow.ts';
import { hasKeyIdentifier, withKeyIdentifier } from './marked-ca.ts';
import { observeHandshakes, type QuicLibrary, type QuicServer } from './native.ts';
import { MAX_UDP_PAYLOAD_BYTES } from './quic-packet.ts';

export interface GenerationComponents {
  readonly library: QuicLibrary;
  readonly log: Logger;
  onSession(session: QuicServerSession, generation: QuicGeneration): void;
  onHandshakeFailed(port: number, code: number): void;
}

export interface GenerationOptions {
  readonly idleTimeoutMs: number;
  readonly connections: number;
  readonly preflightTimeoutMs: number;
}

/** A connection needs a control stream and a few for messages; the library counts the open ones. */
const MAX_STREAMS = 64;
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const STREAM_WINDOW_BYTES = 1024 * 1024;

/**
 * One QUIC server on a loopback port, serving one bundle for as long as it lives: the library cannot change
 * the certificate of a server. Made only by {@link QuicGeneration.start}, so every generation that exists has
 * served a handshake.
 */
export class QuicGeneration implements SteeringTarget {
  readonly fingerprint: string;
  readonly port: number;
  /** Sessions with a completed handshake that have not ended. */
  readonly sessions = new Set<QuicServerSession>();
  readonly #server: QuicServer;
  #closed: Promise<void> | undefined;

  private constructor(server: QuicServer, fingerprint: string, port: number) {
    this.#server = server;
    this.fingerprint = fingerprint;
    this.port = port;
  }

  /**
   * Builds the whole server and proves with a handshake of its own that it serves. Rejects, with nothing left
   * behind, when it does not.
   */
  static async start(
    bundle: CertificateBundle,
    components: GenerationComponents,
    options: GenerationOptions,
  ): Promise<QuicGeneration> {
    for (const subject of indistinguishable(bundle))
      components.log.warn(
        { subject },
        'several trusted CAs look alike; QUIC lets in edges of the first only, unless their certificates name the key of their CA',
      );
    // Throws ERR_OSSL_X509_KEY_VALUES_MISMATCH and the like: clearer than what the library says.
    createSecureContext({ cert: bundle.server.cert, key: bundle.server.key });
    const server = components.library.createQuicServer({
      cert: bundle.server.cert,
      key: bundle.server.key,
      ca: trustOrder(bundle).join('\n'),
      // Not `require`: a peer without a certificate is told so by the gate, in words and in the metrics, as
      // on every transport.
      clientAuth: 'request',
      alpn: [QUIC_ALPN],
      runtimeMode: 'auto',
      disableRetry: false,
      disableActiveMigration: true,
      enableDatagrams: false,
      maxIdleTimeoutMs: options.idleTimeoutMs,
      maxUdpPayloadSize: MAX_UDP_PAYLOAD_BYTES,
      initialMaxData: CONNECTION_WINDOW_BYTES,
      initialMaxStreamDataBidiLocal: STREAM_WINDOW_BYTES,
      initialMaxStreamsBidi: MAX_STREAMS,
      maxConnections: options.connections,
    });
    server.on('error', (err) => components.log.warn({ err }, 'the QUIC library reported an error'));
    // Bound to loopback the library would search for datagrams of 16 KB, for ever (quic-hot-swap.md). The
    // listener refuses sessions that do not come from the steering.
    const { port } = await server.listen(0, '0.0.0.0');
    try {
      await preflight(components.library, port, options.preflightTimeoutMs);
    } catch (error) {
      await server.close();
      throw error;
    }
    const generation = new QuicGeneration(server, bundle.fingerprint, port);
    observeHandshakes(server, components);
    server.on('session', (session: QuicServerSession) => {
      generation.sessions.add(session);
      session.on('error', (err) => components.log.debug({ err }, 'a QUIC session reported an error'));
      session.on('close', () => generation.sessions.delete(session));
      components.onSession(session, generation);
    });
    return generation;
  }

  /** Ends every session at once, without words, and the server. */
  close(): Promise<void> {
    this.#closed ??= this.#server.close();
    return this.#closed;
  }
}

/**
 * A handshake without a client certificate: it completes (the gate would refuse the session), so cert, key
 * and ALPN are served.
 */
async function preflight(library: QuicLibrary, port: number, timeoutMs: number): Promise<void> {
  const session = library.connectQuic(
    { address: '127.0.0.1', port, servername: `preflight-${randomUUID()}` },
    { rejectUnauthorized: false, alpn: [QUIC_ALPN], connectTimeoutMs: timeoutMs },
  );
  session.on('error', () => {});
  try {
    await session.ready();
  } finally {
    await session.close(0, 'preflight');
  }
}

/**
 * The library looks for a client's CA by name and takes the first whose key identifier does not contradict
 * the certificate. KubeEdge's CAs all share a name and lack the identifier, so they are given one here
 * (requirement C2): every certificate this hub issues names the key of its CA, whatever the CA says of
 * itself. Certificates without that, of old KubeEdge versions, go by the name alone; for their sake the order
 * is kept: CAs that have an identifier of their own come first (docs/decisions/quic-library.md).
 */
export function trustOrder(bundle: Pick<CertificateBundle, 'clientCAs'>): string[] {
  return [...bundle.clientCAs]
    .sort((a, b) => Number(hasKeyIdentifier(b.der)) - Number(hasKeyIdentifier(a.der)))
    .map(withKeyIdentifier);
}

/**
 * Subjects that several trusted CAs share: of edges whose certificate does not name the key of its CA, those
 * of the first alone get in.
 */
export function indistinguishable({ clientCAs }: Pick<CertificateBundle, 'clientCAs'>): string[] {
  const unmarked = clientCAs.filter((ca) => !hasKeyIdentifier(ca.der)).map((ca) => ca.subject);
  return [...new Set(unmarked.filter((subject, i) => unmarked.indexOf(subject) !== i))];
}
