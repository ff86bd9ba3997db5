import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { describeError, SallyportError } from '../../core/errors.ts';
import { encodeHello, QUIC_ALPN, type QuicClose } from '../../protocol/quic-control.ts';
import { QuicLink } from './quic-link.ts';
import {
  type ConnectOptions,
  connectRefused,
  type EdgeCredentials,
  type EdgeLink,
  type EdgeTransport,
  type TransportComponents,
} from './transport.ts';

export interface QuicTransportOptions {
  /** `host:port` of the hub's QUIC listener; IPv6 in brackets. */
  readonly address: string;
  /**
   * Period of the pings that find out whether the hub is still there. Default: half of CloudCore's 30 s of
   * patience.
   */
  readonly pingIntervalMs?: number;
  /**
   * DNS name the hub's certificate must carry. Default: the host of `address`, or `localhost` when that is an
   * IP address: the library can check names only, and `localhost` is among a hub's names by default. Whoever
   * serves must hold a key of a server certificate of the node's one CA in any case.
   */
  readonly serverName?: string;
}

/**
 * What an Ethernet frame carries of UDP over IPv4; the library searches for less when the path carries less.
 */
const MAX_UDP_PAYLOAD_BYTES = 1472;

/**
 * Sallyport's own transport (docs/protocol-quic.md): RFC 9000 QUIC with mutual TLS; one large message does
 * not hold up the rest.
 */
export class QuicTransport implements EdgeTransport {
  readonly name = 'quic';
  readonly #components: TransportComponents;
  readonly #address: string;
  readonly #pingIntervalMs: number;
  readonly #serverName: string | undefined;
  /** The session that a next connection continues. */
  #session: string | undefined;

  constructor(
    components: TransportComponents,
    { address, pingIntervalMs = 15_000, serverName }: QuicTransportOptions,
  ) {
    this.#components = components;
    this.#serverName = serverName;
    this.#address = address;
    this.#pingIntervalMs = pingIntervalMs;
  }

  async connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<EdgeLink> {
    const { clock } = this.#components;
    const { connectTimeoutMs, signal } = options;
    signal.throwIfAborted();
    const url = `quic://${this.#address}`;
    const session = await this.#dial(url, credentials, options);
    const link = new QuicLink(
      { ...this.#components, session },
      {
        remoteAddress: this.#address,
        pingIntervalMs: this.#pingIntervalMs,
        idleTimeoutMs: 3 * this.#pingIntervalMs,
        writeTimeoutMs: options.writeTimeoutMs,
        maxMessageBytes: options.maxMessageBytes,
      },
    );
    const giveUp = new AbortController();
    const timer = clock.setTimeout(
      () => giveUp.abort(new Error(`not connected within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    const stop = AbortSignal.any([signal, giveUp.signal]);
    try {
      const welcome = await link.open(
        encodeHello({
          node_id: credentials.node,
          project_id: options.projectId,
          sdk: options.agent,
          ...(this.#session === undefined ? {} : { resume: this.#session }),
        }),
        stop,
      );
      this.#session = welcome.session;
      return link;
    } catch (cause) {
      link.abandon();
      signal.throwIfAborted();
      // Before the handshake is complete it is we who refused the hub.
      const refusal = link.isSecure ? link.ending : undefined;
      if (refusal?.word !== undefined || refusal?.reason !== undefined)
        throw connectRefused(url, {
          word: wordOf(refusal, credentials.certificate, clock.now()),
          detail: refusal.detail,
          ...(refusal.reason?.reconnectAfterMs === undefined
            ? {}
            : { retryAfterMs: refusal.reason.reconnectAfterMs }),
        });
      throw new SallyportError(
        'CONNECT_FAILED',
        {
          url,
          problem: link.isSecure ? describeError(cause) : `${describeError(cause)}${hint(link.ending)}`,
        },
        cause,
      );
    } finally {
      timer.cancel();
    }
  }

  async #dial(url: string, { ca, certificate, key }: EdgeCredentials, options: ConnectOptions) {
    const { host, port } = parseAddress(this.#address);
    try {
      // Loaded here and not above: the native part is large, and not on every platform.
      const library = await import('@currentspace/http3');
      return library.connectQuic(
        { host, port, servername: this.#serverName ?? (isIP(host) ? 'localhost' : host) },
        {
          ca,
          // Without a certificate the hub says no; the self-test of a gateway makes sure of it.
          ...(certificate === '' ? {} : { cert: certificate, key }),
          rejectUnauthorized: true,
          alpn: [QUIC_ALPN],
          allow0RTT: false,
          maxUdpPayloadSize: MAX_UDP_PAYLOAD_BYTES,
          maxIdleTimeoutMs: 3 * this.#pingIntervalMs,
          connectTimeoutMs: options.connectTimeoutMs,
        },
      );
    } catch (cause) {
      throw new SallyportError('CONNECT_FAILED', { url, problem: describeError(cause) }, cause);
    }
  }
}

function parseAddress(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`quic://${address}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
}

function hint(ending: QuicClose | undefined): string {
  return ending?.word === undefined
    ? ''
    : '; the certificate of the hub does not verify, or not for this name';
}

/**
 * One TLS alert stands for both ends of a certificate's life; which one it was can be read from the
 * certificate.
 */
function wordOf({ word, reason }: QuicClose, certificate: string, now: number): string | undefined {
  if (word === undefined || word === 'limit') return reason?.name;
  const isEarly = word === 'expired' && new X509Certificate(certificate).validToDate.getTime() > now;
  return isEarly ? 'not-yet-valid' : word;
}
