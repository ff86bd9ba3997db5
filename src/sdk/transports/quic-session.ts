import type { Duplex } from 'node:stream';
import type { connectQuic } from '@currentspace/http3';
import type { Message } from '../../protocol/message.ts';
import { MessageLanes } from '../../protocol/message-lanes.ts';
import { readQuicClose } from '../../protocol/quic-control.ts';
import type { StreamWriter } from '../../protocol/stream-writer.ts';
import type { HubSession, HubSessionEvents } from './framed-link.ts';
import type { TransportComponents } from './transport.ts';

export type QuicClientSession = ReturnType<typeof connectQuic>;

/** One QUIC connection to the hub: each message on the stream of its lane, each stream both ways. */
export class QuicSession implements HubSession {
  readonly transport = 'quic';
  readonly messagesOnControl = false;
  readonly #session: QuicClientSession;
  readonly #lanes: MessageLanes;
  #events: HubSessionEvents | undefined;
  #isSecure = false;

  constructor(session: QuicClientSession, { clock, logger }: TransportComponents) {
    this.#session = session;
    this.#lanes = new MessageLanes({
      now: () => clock.monotonic(),
      open: () => {
        const stream = session.openStream();
        this.#events?.onStream(stream);
        return stream;
      },
    });
    // An `error` without a listener would end the process; `ready` and `close` say the same.
    session.on('error', (err) => logger.debug({ err }, 'the QUIC session reported an error'));
  }

  /** Whether the hub has proven who it is; what it says before means nothing. */
  get isSecure(): boolean {
    return this.#isSecure;
  }

  get writers(): Iterable<StreamWriter> {
    return this.#lanes.writers;
  }

  follow(events: HubSessionEvents): void {
    this.#events = events;
    this.#session.on('stream', (stream) => events.onStream(stream));
    this.#session.on('close', ({ errorCode, reason }) =>
      events.onClosed(readQuicClose(errorCode, reason), reason),
    );
  }

  async open(): Promise<Duplex> {
    await this.#session.ready();
    this.#isSecure = true;
    return this.#session.openStream();
  }

  writer(message: Message, bytes: number): StreamWriter {
    return this.#lanes.writer(message, bytes);
  }

  close(code: number, text: string): void {
    this.#session.close(code, text).catch(() => {});
  }

  cut(code: number): void {
    this.close(code, '');
  }
}
