import type { ClientHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { ByteDuplex } from '../../protocol/byte-duplex.ts';
import { type CloseReason, closeReason, closeText } from '../../protocol/close-reasons.ts';
import {
  decodeFramed,
  encodeFrame,
  encodeFramed,
  FRAME_HEADER_BYTES,
  FRAME_TYPES,
  type Frame,
  FrameDecoder,
} from '../../protocol/codec-framed.ts';
import type { Message } from '../../protocol/message.ts';
import { parseWelcome, type QuicClose, readQuicClose, type Welcome } from '../../protocol/quic-control.ts';
import { StreamWriter } from '../../protocol/stream-writer.ts';
import type { EdgeLink, EdgeLinkHandler } from './transport.ts';
import type { ClientSession } from './webtransport-dial.ts';

export interface WebTransportLinkOptions {
  readonly remoteAddress: string;
  readonly pingIntervalMs: number;
  /** Silence of the hub after which the link ends. */
  readonly idleTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly maxMessageBytes: number;
}

const PING = encodeFrame(FRAME_TYPES.ping, new Uint8Array());
/** How long the hub may take to read a close before the connection is cut. */
const CLOSE_TIMEOUT_MS = 1_000;

/** One WebTransport session with the hub, on a TCP connection of its own. */
export class WebTransportLink implements EdgeLink {
  readonly transport = 'webtransport';
  readonly remoteAddress: string;
  readonly #session: ClientSession;
  readonly #connection: ClientHttp2Session;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #options: WebTransportLinkOptions;
  #stream: ByteDuplex | undefined;
  #writer: StreamWriter | undefined;
  #watch: Timer | undefined;
  #heardAt: number;
  #servedSha256 = '';
  #maxMessageBytes: number;
  #handler: EdgeLinkHandler | undefined;
  /** What came before there was a handler. */
  readonly #early: Message[] = [];
  #reason: CloseReason | undefined;
  #ending: QuicClose | undefined;
  #rejectOpening: (error: Error) => void = () => {};

  constructor(
    components: {
      session: ClientSession;
      connection: ClientHttp2Session;
      clock: Clock;
      logger: Logger;
    },
    options: WebTransportLinkOptions,
  ) {
    this.#session = components.session;
    this.#connection = components.connection;
    this.#clock = components.clock;
    this.#logger = components.logger;
    this.#options = options;
    this.#maxMessageBytes = options.maxMessageBytes;
    this.#heardAt = this.#clock.monotonic();
    this.#connection.once('connect', (_session, socket) => {
      this.#servedSha256 = fingerprintOf(socket as TLSSocket);
    });
    this.remoteAddress = options.remoteAddress;
    const lost = () => this.#ended(readQuicClose(0, ''));
    this.#session.closed.then(({ closeCode, reason }) => this.#ended(readQuicClose(closeCode, reason)), lost);
    // After the session, which may know why.
    this.#connection.once('close', () => setImmediate(lost));
  }

  /** SHA-256 of the certificate the hub showed, lower-case hexadecimal. */
  get servedSha256(): string {
    return this.#servedSha256;
  }

  /** What the session ended with; undefined while it lives. */
  get ending(): QuicClose | undefined {
    return this.#ending;
  }

  /**
   * Opens the session's one stream, says hello and waits for the welcome. Rejects when the session ends
   * before, or with the signal's reason.
   */
  async open(hello: Uint8Array, signal: AbortSignal): Promise<Welcome> {
    const welcome = await new Promise<Welcome>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      this.#rejectOpening = reject;
      this.#session.ready
        .then(() => this.#session.createBidirectionalStream())
        .then((pair) => this.#start(new ByteDuplex(pair), hello, resolve))
        .catch(reject);
    });
    this.#maxMessageBytes = Math.min(this.#maxMessageBytes, welcome.max_message_bytes);
    this.#watch = this.#clock.setInterval(() => this.#ping(), this.#options.pingIntervalMs);
    return welcome;
  }

  /** Gives an attempt up. */
  abandon(): void {
    this.#watch?.cancel();
    this.#connection.destroy();
  }

  receive(handler: EdgeLinkHandler): void {
    this.#handler = handler;
    for (const message of this.#early.splice(0)) handler.onMessage(message);
    if (this.#ending) handler.onClose(this.#reason ?? this.#ending.reason);
    else this.#stream?.resume();
  }

  async send(message: Message): Promise<void> {
    if (this.#ending || this.#reason) throw this.#closed();
    const frame = encodeFramed(message);
    if (frame.length - FRAME_HEADER_BYTES > this.#maxMessageBytes)
      throw new SallyportError('MESSAGE_INVALID', {
        problem: `it is larger than ${this.#maxMessageBytes} bytes`,
      });
    await this.#writer!.write(frame);
  }

  close(reason: CloseReason): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#watch?.cancel();
    this.#session.close({ closeCode: reason.code, reason: closeText(reason) });
    this.#clock.setTimeout(() => this.#connection.destroy(), CLOSE_TIMEOUT_MS);
  }

  #start(stream: ByteDuplex, hello: Uint8Array, onWelcome: (welcome: Welcome) => void): void {
    const decoder = new FrameDecoder({ maxMessageBytes: this.#options.maxMessageBytes });
    this.#stream = stream;
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#heardAt = this.#clock.monotonic();
      try {
        decoder.push(chunk, (frame) => {
          if (frame.type !== FRAME_TYPES.welcome) return this.#onFrame(frame);
          onWelcome(parseWelcome(frame.payload));
          // Nothing more is read before somebody receives it.
          if (!this.#handler) stream.pause();
        });
      } catch (err) {
        this.#logger.warn({ err }, 'the hub sent something that is no message');
        this.close(closeReason('ProtocolError'));
      }
    });
    this.#writer = new StreamWriter(stream, () => this.#clock.monotonic());
    this.#writer.write(hello).catch(() => {});
  }

  #onFrame(frame: Frame): void {
    if (frame.type !== FRAME_TYPES.message || this.#reason) return;
    const message = decodeFramed(frame.payload);
    if (this.#handler) this.#handler.onMessage(message);
    else this.#early.push(message);
  }

  #ping(): void {
    const now = this.#clock.monotonic();
    const { idleTimeoutMs, writeTimeoutMs } = this.#options;
    if (this.#writer!.stalledMs(now) >= writeTimeoutMs || now - this.#heardAt >= idleTimeoutMs) {
      this.#logger.warn({ hub: this.remoteAddress }, 'the hub has fallen silent');
      this.#connection.destroy();
      this.#ended({ reason: undefined, word: undefined, detail: 'the hub has fallen silent' });
    } else if (this.#writer!.bufferedBytes === 0) this.#writer!.write(PING).catch(() => {});
  }

  #ended(ending: QuicClose): void {
    if (this.#ending) return;
    this.#ending = ending;
    this.#watch?.cancel();
    this.#stream?.destroy();
    // One session a connection.
    this.#connection.close();
    this.#rejectOpening(new Error(ending.detail || 'the connection was closed'));
    this.#handler?.onClose(this.#reason ?? ending.reason);
  }

  #closed(): SallyportError {
    return new SallyportError('SESSION_CLOSED', { reason: this.#reason?.text ?? 'connection lost' });
  }
}

function fingerprintOf(socket: TLSSocket): string {
  return socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase() ?? '';
}
