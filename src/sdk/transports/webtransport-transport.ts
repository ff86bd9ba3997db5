import { describeError, SallyportError } from '../../core/errors.ts';
import { encodeHello } from '../../protocol/quic-control.ts';
import {
  type ConnectOptions,
  connectRefused,
  type EdgeCredentials,
  type EdgeTransport,
  type TransportComponents,
} from './transport.ts';
import { type Dialled, dialWebTransport } from './webtransport-dial.ts';
import { WebTransportLink } from './webtransport-link.ts';

export interface WebTransportTransportOptions {
  /** `host:port` of the hub's WebTransport listener; IPv6 in brackets. */
  readonly address: string;
  /**
   * Period of the pings that find out whether the hub is still there. Default: half of CloudCore's 30 s of
   * patience.
   */
  readonly pingIntervalMs?: number;
}

/**
 * WebTransport over HTTP/2 with mutual TLS (docs/protocol.md): the frames of QUIC on one stream, over TCP.
 */
export class WebTransportTransport implements EdgeTransport {
  readonly name = 'webtransport';
  readonly #components: TransportComponents;
  readonly #address: string;
  readonly #pingIntervalMs: number;
  /** The session that a next connection continues. */
  #session: string | undefined;

  constructor(
    components: TransportComponents,
    { address, pingIntervalMs = 15_000 }: WebTransportTransportOptions,
  ) {
    this.#components = components;
    this.#address = address;
    this.#pingIntervalMs = pingIntervalMs;
  }

  async connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<WebTransportLink> {
    const { connectTimeoutMs, signal } = options;
    signal.throwIfAborted();
    const url = `https://${this.#address}`;
    const giveUp = new AbortController();
    const timer = this.#components.clock.setTimeout(
      () => giveUp.abort(new Error(`not connected within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    let dialled: Dialled | undefined;
    let link: WebTransportLink | undefined;
    try {
      dialled = await dialWebTransport(this.#address, credentials, options);
      link = new WebTransportLink(
        { ...this.#components, ...dialled },
        {
          remoteAddress: this.#address,
          pingIntervalMs: this.#pingIntervalMs,
          idleTimeoutMs: 3 * this.#pingIntervalMs,
          writeTimeoutMs: options.writeTimeoutMs,
          maxMessageBytes: options.maxMessageBytes,
        },
      );
      const welcome = await link.open(
        encodeHello({
          node_id: credentials.node,
          project_id: options.projectId,
          sdk: options.agent,
          ...(this.#session === undefined ? {} : { resume: this.#session }),
        }),
        AbortSignal.any([signal, giveUp.signal]),
      );
      this.#session = welcome.session;
      return link;
    } catch (cause) {
      link?.abandon();
      signal.throwIfAborted();
      throw whatFailed(url, { cause, dialled, link });
    } finally {
      timer.cancel();
    }
  }
}

/** The hub says no with an HTTP status before there is a session, or with a close after it. */
function whatFailed(
  url: string,
  failed: { cause: unknown; dialled: Dialled | undefined; link: WebTransportLink | undefined },
): SallyportError {
  const { cause, dialled, link } = failed;
  const answer = dialled?.refusal();
  if (answer) return connectRefused(url, answer);
  const ending = link?.ending;
  if (ending?.word !== undefined || ending?.reason !== undefined)
    return connectRefused(url, {
      word: ending.word !== undefined && ending.word !== 'limit' ? ending.word : ending.reason?.name,
      detail: ending.detail,
      ...(ending.reason?.reconnectAfterMs === undefined
        ? {}
        : { retryAfterMs: ending.reason.reconnectAfterMs }),
    });
  const problem = describeError(dialled?.failure() ?? cause);
  return new SallyportError('CONNECT_FAILED', { url, problem }, cause);
}
