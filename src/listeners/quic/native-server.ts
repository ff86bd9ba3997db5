import { randomUUID } from 'node:crypto';
import type { QuicServerSession } from '@currentspace/http3';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { Logger } from '../../core/log.ts';
import { QUIC_ALPN } from '../../protocol/quic-control.ts';
import type { Flow, SteeringTarget } from './flow.ts';
import { observeHandshakes, type QuicLibrary, type QuicServer } from './native.ts';
import { MAX_UDP_PAYLOAD_BYTES } from './quic-packet.ts';
import { trustOrder } from './trust-order.ts';

export interface NativeServerComponents {
  readonly library: QuicLibrary;
  readonly log: Logger;
  /** @returns false for one that is sent away: nobody is on the server for its sake */
  onSession(session: QuicServerSession): boolean;
  onHandshakeFailed(port: number, code: number): void;
}

export interface NativeServerOptions {
  readonly idleTimeoutMs: number;
  /** Most that the library may hold; who gets in is decided before. */
  readonly connections: number;
  /** How long each of the two handshakes may take that it is tried with; undefined: none is made. */
  readonly preflightTimeoutMs?: number;
}

/** A connection needs a control stream and a few for messages; the library counts the open ones. */
const MAX_STREAMS = 64;
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const STREAM_WINDOW_BYTES = 1024 * 1024;

/**
 * One server of the library: one thread, one socket, one bundle for as long as it lives. Its cost of a
 * message grows with the connections it holds, so that a bundle is served by many of them.
 */
export class NativeServer implements SteeringTarget {
  readonly port: number;
  readonly flows = new Set<Flow>();
  /** Sessions with a completed handshake that have not ended. */
  readonly sessions = new Set<QuicServerSession>();
  readonly #server: QuicServer;
  #closed: Promise<void> | undefined;

  private constructor(server: QuicServer, port: number) {
    this.#server = server;
    this.port = port;
  }

  /**
   * Starts it and, where that is asked for, proves with a handshake that it serves. Rejects with the
   * library's error, with nothing left behind.
   */
  static async start(
    bundle: CertificateBundle,
    components: NativeServerComponents,
    { idleTimeoutMs, connections, preflightTimeoutMs }: NativeServerOptions,
  ): Promise<NativeServer> {
    const server = components.library.createQuicServer({
      cert: bundle.server.cert,
      key: bundle.server.key,
      ca: trustOrder(bundle).join('\n'),
      // Not `require`: a peer without a certificate is told so by the gate, in words and in the metrics, as
      // on every transport.
      clientAuth: 'request',
      alpn: [QUIC_ALPN],
      // Without io_uring: less CPU a message and half the memory a server (measured, quic-hot-swap.md), and
      // containers do not allow it anyway.
      runtimeMode: 'portable',
      disableRetry: false,
      disableActiveMigration: true,
      enableDatagrams: false,
      maxIdleTimeoutMs: idleTimeoutMs,
      maxUdpPayloadSize: MAX_UDP_PAYLOAD_BYTES,
      initialMaxData: CONNECTION_WINDOW_BYTES,
      initialMaxStreamDataBidiLocal: STREAM_WINDOW_BYTES,
      initialMaxStreamsBidi: MAX_STREAMS,
      maxConnections: connections,
    });
    server.on('error', (err) => components.log.warn({ err }, 'the QUIC library reported an error'));
    // Bound to loopback the library would search for datagrams of 16 KB, for ever (quic-hot-swap.md). The
    // listener refuses sessions that do not come from the steering.
    const { port } = await server.listen(0, '0.0.0.0');
    try {
      // Before sessions are looked at: the listener would send this one away.
      // Tried twice: a handshake that got lost on a busy machine says nothing about the bundle.
      if (preflightTimeoutMs) {
        const trial = () => preflight(components.library, port, preflightTimeoutMs);
        await trial().catch(trial);
      }
    } catch (error) {
      await server.close();
      throw error;
    }
    const made = new NativeServer(server, port);
    observeHandshakes(server, components);
    server.on('session', (session: QuicServerSession) => {
      made.sessions.add(session);
      session.on('error', (err) => components.log.debug({ err }, 'a QUIC session reported an error'));
      session.on('close', () => made.sessions.delete(session));
      if (!components.onSession(session)) made.sessions.delete(session);
    });
    return made;
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
