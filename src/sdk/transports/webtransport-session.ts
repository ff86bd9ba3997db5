import type { ClientHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import { ByteDuplex } from '../../protocol/byte-duplex.ts';
import type { Message } from '../../protocol/message.ts';
import { type QuicClose, readQuicClose } from '../../protocol/quic-control.ts';
import type { StreamWriter } from '../../protocol/stream-writer.ts';
import type { HubSession, HubSessionEvents } from './framed-link.ts';
import type { TransportComponents } from './transport.ts';
import type { ClientSession, Dialled } from './webtransport-dial.ts';

/** How long the hub may take to read a close before the connection is cut. */
const CLOSE_TIMEOUT_MS = 1_000;

/** One WebTransport session with the hub, on a TCP connection of its own: all messages on its one stream. */
export class WebTransportSession implements HubSession {
  readonly transport = 'webtransport';
  readonly messagesOnControl = true;
  readonly writers = [];
  readonly #session: ClientSession;
  readonly #connection: ClientHttp2Session;
  readonly #clock: TransportComponents['clock'];
  #stream: Duplex | undefined;

  constructor({ session, connection }: Dialled, { clock }: Pick<TransportComponents, 'clock'>) {
    this.#session = session;
    this.#connection = connection;
    this.#clock = clock;
  }

  follow({ onClosed }: HubSessionEvents): void {
    const ended = (ending: QuicClose) => {
      this.#stream?.destroy();
      // One session a connection.
      this.#connection.close();
      onClosed(ending, ending.detail);
    };
    const lost = () => ended(readQuicClose(0, ''));
    this.#session.closed.then(({ closeCode, reason }) => ended(readQuicClose(closeCode, reason)), lost);
    // After the session, which may know why.
    this.#connection.once('close', () => setImmediate(lost));
  }

  async open(): Promise<Duplex> {
    await this.#session.ready;
    this.#stream = new ByteDuplex(await this.#session.createBidirectionalStream());
    return this.#stream;
  }

  writer(_message: Message, _bytes: number, control: StreamWriter): StreamWriter {
    return control;
  }

  close(code: number, text: string): void {
    this.#session.close({ closeCode: code, reason: text });
    this.#clock.setTimeout(() => this.cut(), CLOSE_TIMEOUT_MS);
  }

  cut(): void {
    this.#connection.destroy();
  }
}
