import type { connectQuic, QuicStream } from '@currentspace/http3';
import type { Clock, Timer } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
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
import { type Lane, MessageLanes } from '../../protocol/message-lanes.ts';
import { parseWelcome, type QuicClose, readQuicClose, type Welcome } from '../../protocol/quic-control.ts';
import { StreamWriter } from '../../protocol/stream-writer.ts';
import type { EdgeLink, EdgeLinkHandler } from './transport.ts';

export type QuicClientSession = ReturnType<typeof connectQuic>;

export interface QuicLinkOptions {
  readonly remoteAddress: string;
  readonly pingIntervalMs: number;
  /** Silence of the hub after which the link ends. */
  readonly idleTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly maxMessageBytes: number;
}

const PING = encodeFrame(FRAME_TYPES.ping, new Uint8Array());

/** One QUIC connection to the hub, from its first stream on. */
export class QuicLink implements EdgeLink {
  readonly transport = 'quic';
  readonly remoteAddress: string;
  readonly #session: QuicClientSession;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #options: QuicLinkOptions;
  readonly #lanes = new MessageLanes();
  readonly #writers = new Map<Lane, StreamWriter>();
  #control: StreamWriter | undefined;
  #watch: Timer | undefined;
  #heardAt: number;
  #isSecure = false;
  #maxMessageBytes: number;
  #handler: EdgeLinkHandler | undefined;
  /** What came before there was a handler. */
  readonly #early: Message[] = [];
  #reason: CloseReason | undefined;
  #ending: QuicClose | undefined;

  constructor(
    components: { session: QuicClientSession; clock: Clock; logger: Logger },
    options: QuicLinkOptions,
  ) {
    this.#session = components.session;
    this.#clock = components.clock;
    this.#logger = components.logger;
    this.#options = options;
    this.#maxMessageBytes = options.maxMessageBytes;
    this.#heardAt = this.#clock.monotonic();
    this.remoteAddress = options.remoteAddress;
    // An `error` without a listener would end the process; `ready` and `close` say the same.
    this.#session.on('error', (err) => this.#logger.debug({ err }, 'the QUIC session reported an error'));
    this.#session.on('stream', (stream) => this.#read(stream));
    this.#session.on('close', ({ errorCode, reason }) => this.#ended(readQuicClose(errorCode, reason)));
  }

  /** What the connection ended with; undefined while it lives. */
  get ending(): QuicClose | undefined {
    return this.#ending;
  }

  /** Whether the hub has proven who it is; what it says before means nothing. */
  get isSecure(): boolean {
    return this.#isSecure;
  }

  /**
   * Completes the handshake, says hello and waits for the welcome. Rejects when the session ends before, or
   * with the signal's reason.
   */
  async open(hello: Uint8Array, signal: AbortSignal): Promise<Welcome> {
    const welcome = await new Promise<Welcome>((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#session.on('close', ({ reason }) => reject(new Error(reason || 'the connection was closed')));
      this.#session
        .ready()
        .then(() => {
          this.#isSecure = true;
          this.#openControl(hello, resolve, reject);
        })
        .catch(reject);
    });
    this.#maxMessageBytes = Math.min(this.#maxMessageBytes, welcome.max_message_bytes);
    const { pingIntervalMs } = this.#options;
    this.#watch = this.#clock.setInterval(() => this.#ping(), pingIntervalMs);
    return welcome;
  }

  /** Gives an attempt up. */
  abandon(): void {
    this.#watch?.cancel();
    this.#session.close(closeReason('Normal').code, '').catch(() => {});
  }

  receive(handler: EdgeLinkHandler): void {
    this.#handler = handler;
    for (const message of this.#early.splice(0)) handler.onMessage(message);
    if (this.#ending) handler.onClose(this.#reason ?? this.#ending.reason);
  }

  async send(message: Message): Promise<void> {
    if (this.#ending || this.#reason) throw this.#closed();
    const frame = encodeFramed(message);
    if (frame.length - FRAME_HEADER_BYTES > this.#maxMessageBytes)
      throw new SallyportError('MESSAGE_INVALID', {
        problem: `it is larger than ${this.#maxMessageBytes} bytes`,
      });
    const lane = this.#lanes.choose(message.route.resource, frame.length, this.#clock.monotonic());
    await this.#writer(lane).write(frame);
  }

  close(reason: CloseReason): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#watch?.cancel();
    this.#session.close(reason.code, closeText(reason)).catch(() => {});
  }

  #openControl(
    hello: Uint8Array,
    resolve: (welcome: Welcome) => void,
    reject: (error: unknown) => void,
  ): void {
    const stream = this.#session.openStream();
    const decoder = new FrameDecoder({ maxMessageBytes: 0 });
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#heardAt = this.#clock.monotonic();
      try {
        decoder.push(chunk, (frame) => {
          if (frame.type === FRAME_TYPES.welcome) resolve(parseWelcome(frame.payload));
        });
      } catch (error) {
        reject(error);
        this.#onBroken(error);
      }
    });
    this.#control = new StreamWriter(stream, () => this.#clock.monotonic());
    this.#control.write(hello).catch(reject);
  }

  #read(stream: QuicStream): void {
    const decoder = new FrameDecoder({ maxMessageBytes: this.#options.maxMessageBytes });
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#heardAt = this.#clock.monotonic();
      try {
        decoder.push(chunk, (frame) => this.#onFrame(frame));
      } catch (error) {
        this.#onBroken(error);
      }
    });
  }

  #onFrame(frame: Frame): void {
    if (frame.type !== FRAME_TYPES.message || this.#reason) return;
    const message = decodeFramed(frame.payload);
    if (this.#handler) this.#handler.onMessage(message);
    else this.#early.push(message);
  }

  #onBroken(err: unknown): void {
    this.#logger.warn({ err }, 'the hub sent something that is no message');
    this.close(closeReason('ProtocolError'));
  }

  #ping(): void {
    const now = this.#clock.monotonic();
    const { idleTimeoutMs, writeTimeoutMs } = this.#options;
    const writers = [this.#control!, ...this.#writers.values()];
    const isStuck = writers.some((writer) => writer.stalledMs(now) >= writeTimeoutMs);
    if (isStuck || now - this.#heardAt >= idleTimeoutMs) {
      this.#logger.warn({ hub: this.remoteAddress }, 'the hub has fallen silent');
      this.#session.close(closeReason('KeepaliveTimeout').code, '').catch(() => {});
      this.#ended({ reason: undefined, word: undefined, detail: 'the hub has fallen silent' });
    } else this.#control!.write(PING).catch(() => {});
  }

  #writer(lane: Lane): StreamWriter {
    const known = this.#writers.get(lane);
    if (known && !known.stream.destroyed) return known;
    const stream = this.#session.openStream();
    const writer = new StreamWriter(stream, () => this.#clock.monotonic());
    this.#writers.set(lane, writer);
    this.#read(stream);
    return writer;
  }

  #ended(ending: QuicClose): void {
    if (this.#ending) return;
    this.#ending = ending;
    this.#watch?.cancel();
    this.#handler?.onClose(this.#reason ?? ending.reason);
  }

  #closed(): SallyportError {
    return new SallyportError('SESSION_CLOSED', { reason: this.#reason?.text ?? 'connection lost' });
  }
}
