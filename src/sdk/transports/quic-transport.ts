import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import { closeReason } from '../../protocol/close-reasons.ts';
import { QUIC_ALPN, type QuicClose } from '../../protocol/quic-control.ts';
import { importQuicLibrary } from '../../protocol/quic-library.ts';
import { FramedConnector, type FramedConnectorOptions, refusedByClose } from './framed-connector.ts';
import { SILENT_PINGS } from './framed-link.ts';
import { QuicSession } from './quic-session.ts';
import type {
  BlockableTransport,
  ConnectOptions,
  EdgeCredentials,
  EdgeLink,
  EdgeTransport,
  TransportComponents,
} from './transport.ts';

export interface QuicTransportOptions extends FramedConnectorOptions {
  /**
   * DNS name the hub's certificate must carry. Default: the host of `address`, or `localhost` when that is an
   * IP address: the library can check names only, and `localhost` is among a hub's names by default. Whoever
   * serves must hold a key of a server certificate of the node's one CA in any case.
   */
  readonly serverName?: string;
}

/** What the library is told, and what it begins with; the size that it finds then is limited by the hub. */
const MAX_UDP_PAYLOAD_BYTES = 1350;

/**
 * Sallyport's own transport (docs/protocol-quic.md): RFC 9000 QUIC with mutual TLS; one large message does
 * not hold up the rest.
 */
export class QuicTransport implements EdgeTransport {
  readonly name = 'quic';
  readonly blockable: BlockableTransport;
  readonly #components: TransportComponents;
  readonly #connector: FramedConnector;
  readonly #serverName: string | undefined;

  constructor(components: TransportComponents, options: QuicTransportOptions) {
    this.#components = components;
    this.#connector = new FramedConnector(components, options);
    this.#serverName = options.serverName;
    this.blockable = { url: `quic://${options.address}`, probe: (...args) => this.#probe(...args) };
  }

  async connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<EdgeLink> {
    const { url } = this.blockable;
    const session = await this.#dial(credentials, options);
    return this.#connector.connect(session, {
      credentials,
      options,
      whyNot: ({ cause, ending }) => {
        // Before the handshake is complete it is we who refused the hub.
        const word = ending && wordOf(ending, credentials.certificate, this.#components.clock.now());
        const refused = session.isSecure ? refusedByClose(url, ending, word) : undefined;
        const problem = `${describeError(cause)}${session.isSecure ? '' : hint(ending)}`;
        return refused ?? new SallyportError('CONNECT_FAILED', { url, problem }, cause);
      },
    });
  }

  async #probe(credentials: EdgeCredentials, options: ConnectOptions): Promise<void> {
    const session = await this.#dial(credentials, options);
    try {
      await session.open();
    } finally {
      session.cut(closeReason('Normal').code);
    }
  }

  async #dial({ ca, certificate, key }: EdgeCredentials, options: ConnectOptions): Promise<QuicSession> {
    options.signal.throwIfAborted();
    const { url } = this.blockable;
    const { address, pingIntervalMs } = this.#connector;
    const { host, port } = parseAddress(address);
    try {
      // Loaded here and not above: the native part is large, and not on every platform.
      const library = await importQuicLibrary();
      const session = library.connectQuic(
        { host, port, servername: this.#serverName ?? (isIP(host) ? 'localhost' : host) },
        {
          ca,
          // Without a certificate the hub says no; `sallyport doctor` makes sure of it.
          ...(certificate === '' ? {} : { cert: certificate, key }),
          rejectUnauthorized: true,
          alpn: [QUIC_ALPN],
          allow0RTT: false,
          maxUdpPayloadSize: MAX_UDP_PAYLOAD_BYTES,
          maxIdleTimeoutMs: SILENT_PINGS * pingIntervalMs,
          connectTimeoutMs: options.connectTimeoutMs,
        },
      );
      return new QuicSession(session, this.#components);
    } catch (cause) {
      if (isSallyportError(cause, 'QUIC_LIBRARY_MISSING')) throw cause;
      throw new SallyportError('CONNECT_FAILED', { url, problem: describeError(cause) }, cause);
    }
  }
}

function parseAddress(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`quic://${address}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
}

function hint(ending: QuicClose | undefined): string {
  if (ending?.word === undefined) return '';
  // Said before anybody has proven who he is: worth a word, and no more.
  if (ending.word === 'limit') return `; ${ending.detail}`;
  return '; the certificate of the hub does not verify, or not for this name';
}

/**
 * One TLS alert stands for both ends of a certificate's life; which one it was can be read from the
 * certificate.
 */
function wordOf({ word }: QuicClose, certificate: string, now: number): string | undefined {
  const isEarly = word === 'expired' && new X509Certificate(certificate).validToDate.getTime() > now;
  return isEarly ? 'not-yet-valid' : word;
}
