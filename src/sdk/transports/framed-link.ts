import type { Duplex } from 'node:stream';
import type { Timer } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
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
import type { TransportName } from '../../protocol/listener-names.ts';
import type { Message } from '../../protocol/message.ts';
import { parseWelcome, type QuicClose, type Welcome } from '../../protocol/quic-control.ts';
import { StreamWriter } from '../../protocol/stream-writer.ts';
import type { EdgeLink, EdgeLinkHandler, TransportComponents } from './transport.ts';

/** One session with the hub: all that differs between framed transports. */
export interface HubSession {
  readonly transport: TransportName;
  /** Of its streams for messages; the first stream is not among them. */
  readonly writers: Iterable<StreamWriter>;
  /** Whether messages come on the first stream, or on streams of their own. */
  readonly messagesOnControl: boolean;
  /** Sets who is told. */
  follow(events: HubSessionEvents): void;
  /** The first stream, once the hub has proven who it is. Rejects when it does not get so far. */
  open(): Promise<Duplex>;
  /** Where this message goes, `bytes` long. */
  writer(message: Message, bytes: number, control: StreamWriter): StreamWriter;
  /** Says why, then ends. */
  close(code: number, text: string): void;
  /** Ends at once, with the code where that costs no time. */
  cut(code: number): void;
}

export interface HubSessionEvents {
  /** A stream for messages is there. */
  onStream(stream: Duplex): void;
  /** It ended; only the first call counts. `problem` is for whom it was not open yet. */
  onClosed(ending: QuicClose, problem: string): void;
}

export interface FramedLinkOptions {
  readonly remoteAddress: string;
  readonly pingIntervalMs: number;
  readonly writeTimeoutMs: number;
  readonly maxMessageBytes: number;
}

/** Periods of the ping after which a link ends on which something is still being written. */
export const SILENT_PINGS = 3;
/** How long a quiet hub is waited for before it is asked: a shorter time while it has just been sending. */
const PROBE_MS = 1_000;
/** How often it is asked again, and how long it may be silent then (requirement Q3). */
const ASK_AGAIN_MS = 2_000;
const LOST_MS = 6_000;
const PING = encodeFrame(FRAME_TYPES.ping, new Uint8Array());

/** One session with the hub over QUIC or WebTransport, from its first stream on. */
export class FramedLink implements EdgeLink {
  readonly transport: TransportName;
  readonly remoteAddress: string;
  readonly #session: HubSession;
  readonly #components: TransportComponents;
  readonly #options: FramedLinkOptions;
  #stream: Duplex | undefined;
  #control: StreamWriter | undefined;
  #watch: Timer | undefined;
  #heardAt: number;
  /** When messages came last, and the hub was asked last and first since it was heard. */
  #trafficAt = Number.NEGATIVE_INFINITY;
  #lastAskedAt = Number.NEGATIVE_INFINITY;
  #askedAt: number | undefined;
  #maxMessageBytes: number;
  #handler: EdgeLinkHandler | undefined;
  /** What came before there was a handler. */
  readonly #early: Message[] = [];
  #reason: CloseReason | undefined;
  #ending: QuicClose | undefined;
  #rejectOpening: (error: unknown) => void = () => {};

  constructor(session: HubSession, components: TransportComponents, options: FramedLinkOptions) {
    this.transport = session.transport;
    this.remoteAddress = options.remoteAddress;
    this.#session = session;
    this.#components = components;
    this.#options = options;
    this.#maxMessageBytes = options.maxMessageBytes;
    this.#heardAt = components.clock.monotonic();
    session.follow({
      onStream: (stream) => {
        stream.on('data', () => {
          this.#trafficAt = components.clock.monotonic();
        });
        this.#read(stream, options.maxMessageBytes, (frame) => this.#onFrame(frame));
      },
      onClosed: (ending, problem) => {
        this.#rejectOpening(new Error(problem || 'the connection was closed'));
        this.#ended(ending);
      },
    });
  }

  /** What the session ended with; undefined while it lives. */
  get ending(): QuicClose | undefined {
    return this.#ending;
  }

  /**
   * Opens the first stream, says hello and waits for the welcome. Rejects when the session ends before, or
   * with the signal's reason.
   */
  async open(hello: Uint8Array, signal: AbortSignal): Promise<Welcome> {
    const welcome = await new Promise<Welcome>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      this.#rejectOpening = reject;
      this.#session
        .open()
        .then((stream) => this.#start(stream, hello, resolve))
        .catch(reject);
    });
    this.#maxMessageBytes = Math.min(this.#maxMessageBytes, welcome.max_message_bytes);
    const periodMs = Math.min(PROBE_MS, this.#options.pingIntervalMs);
    this.#watch = this.#components.clock.setInterval(() => this.#look(), periodMs);
    return welcome;
  }

  /** Gives an attempt up. */
  abandon(): void {
    this.#watch?.cancel();
    this.#session.cut(closeReason('Normal').code);
  }

  receive(handler: EdgeLinkHandler): void {
    this.#handler = handler;
    for (const message of this.#early.splice(0)) handler.onMessage(message);
    if (this.#ending) handler.onClose(this.#reason ?? this.#ending.reason);
    else this.#stream?.resume();
  }

  async send(message: Message): Promise<void> {
    if (this.#ending || this.#reason)
      throw new SallyportError('SESSION_CLOSED', { reason: this.#reason?.text ?? 'connection lost' });
    const frame = encodeFramed(message);
    if (frame.length - FRAME_HEADER_BYTES > this.#maxMessageBytes)
      throw new SallyportError('MESSAGE_INVALID', {
        problem: `it is larger than ${this.#maxMessageBytes} bytes`,
      });
    await this.#session.writer(message, frame.length, this.#control!).write(frame);
  }

  close(reason: CloseReason): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#watch?.cancel();
    this.#session.close(reason.code, closeText(reason));
  }

  #start(stream: Duplex, hello: Uint8Array, onWelcome: (welcome: Welcome) => void): void {
    const { messagesOnControl } = this.#session;
    this.#stream = stream;
    this.#read(stream, messagesOnControl ? this.#options.maxMessageBytes : 0, (frame) => {
      if (frame.type !== FRAME_TYPES.welcome) return this.#onFrame(frame);
      onWelcome(parseWelcome(frame.payload));
      // Nothing more is read before somebody receives it.
      if (!this.#handler) stream.pause();
    });
    this.#control = new StreamWriter(stream, () => this.#components.clock.monotonic());
    this.#control.write(hello).catch((error) => this.#rejectOpening(error));
  }

  #read(stream: Duplex, maxMessageBytes: number, onFrame: (frame: Frame) => void): void {
    const { clock, logger } = this.#components;
    const decoder = new FrameDecoder({ maxMessageBytes });
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#heardAt = clock.monotonic();
      try {
        decoder.push(chunk, onFrame);
      } catch (err) {
        logger.warn({ err }, 'the hub sent something that is no message');
        this.#rejectOpening(err);
        this.close(closeReason('ProtocolError'));
      }
    });
  }

  #onFrame(frame: Frame): void {
    if (frame.type !== FRAME_TYPES.message || this.#reason) return;
    const message = decodeFramed(frame.payload);
    if (this.#handler) this.#handler.onMessage(message);
    else this.#early.push(message);
  }

  /**
   * Ends the link when the hub is gone, and asks it when it is quiet: after half a period, and soon after it
   * was sending, because a path may have changed under it that only a packet of ours can show it.
   */
  #look(): void {
    const now = this.#components.clock.monotonic();
    const { pingIntervalMs, writeTimeoutMs } = this.#options;
    const control = this.#control!;
    const writers = [control, ...this.#session.writers];
    if (this.#askedAt !== undefined && this.#heardAt >= this.#askedAt) this.#askedAt = undefined;
    const patienceMs = SILENT_PINGS * pingIntervalMs;
    const isBusy = writers.some(({ bufferedBytes }) => bufferedBytes > 0);
    const isGone =
      now - this.#heardAt >= patienceMs ||
      (!isBusy && this.#askedAt !== undefined && now - this.#askedAt >= Math.min(LOST_MS, patienceMs));
    if (isGone || writers.some((writer) => writer.stalledMs(now) >= writeTimeoutMs)) {
      this.#components.logger.warn({ hub: this.remoteAddress }, 'the hub has fallen silent');
      this.#session.cut(closeReason('KeepaliveTimeout').code);
      this.#ended({ reason: undefined, word: undefined, detail: 'the hub has fallen silent' });
      return;
    }
    const quietMs = now - this.#heardAt;
    const isDue =
      this.#askedAt === undefined
        ? quietMs >= pingIntervalMs / 2 || (this.#trafficAt > this.#lastAskedAt && quietMs >= PROBE_MS)
        : now - this.#lastAskedAt >= ASK_AGAIN_MS;
    if (!isDue || control.bufferedBytes > 0) return;
    this.#askedAt ??= now;
    this.#lastAskedAt = now;
    control.write(PING).catch(() => {});
  }

  #ended(ending: QuicClose): void {
    if (this.#ending) return;
    this.#ending = ending;
    this.#watch?.cancel();
    this.#handler?.onClose(this.#reason ?? ending.reason);
  }
}
