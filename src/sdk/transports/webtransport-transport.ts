import { describeError, SallyportError } from '../../core/errors.ts';
import { FramedConnector, type FramedConnectorOptions, refusedByClose } from './framed-connector.ts';
import {
  type ConnectOptions,
  connectRefused,
  type EdgeCredentials,
  type EdgeLink,
  type EdgeTransport,
  type TransportComponents,
} from './transport.ts';
import { type Dialled, dialWebTransport } from './webtransport-dial.ts';
import { WebTransportSession } from './webtransport-session.ts';

export type WebTransportTransportOptions = FramedConnectorOptions;

/**
 * WebTransport over HTTP/2 with mutual TLS (docs/protocol.md): the frames of QUIC on one stream, over TCP.
 */
export class WebTransportTransport implements EdgeTransport {
  readonly name = 'webtransport';
  readonly #components: TransportComponents;
  readonly #connector: FramedConnector;

  constructor(components: TransportComponents, options: WebTransportTransportOptions) {
    this.#components = components;
    this.#connector = new FramedConnector(components, options);
  }

  async connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<EdgeLink> {
    options.signal.throwIfAborted();
    const { address } = this.#connector;
    const url = `https://${address}`;
    const dialled = await this.#dial(url, credentials, options);
    return this.#connector.connect(new WebTransportSession(dialled, this.#components), {
      credentials,
      options,
      // The hub says no with an HTTP status before there is a session, or with a close after it.
      whyNot: ({ cause, ending }) => {
        const answer = dialled.refusal();
        if (answer) return connectRefused(url, answer);
        const problem = describeError(dialled.failure() ?? cause);
        return refusedByClose(url, ending) ?? new SallyportError('CONNECT_FAILED', { url, problem }, cause);
      },
    });
  }

  async #dial(url: string, credentials: EdgeCredentials, options: ConnectOptions): Promise<Dialled> {
    try {
      return await dialWebTransport(this.#connector.address, credentials, options);
    } catch (cause) {
      throw new SallyportError('CONNECT_FAILED', { url, problem: describeError(cause) }, cause);
    }
  }
}
