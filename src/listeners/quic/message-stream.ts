import type { QuicStream } from '@currentspace/http3';
import { type Frame, FrameDecoder } from '../../protocol/codec-framed.ts';

export interface MessageStreamEvents {
  /** Bytes arrived. */
  onBytes(bytes: number): void;
  /** How many bytes of incomplete frames are kept changed by so many. */
  onKept(change: number): void;
  onFrame(frame: Frame): void;
  /** The bytes are no frames: MESSAGE_TOO_LARGE or MESSAGE_INVALID. */
  onBroken(error: unknown): void;
  onEnd(stream: MessageStream): void;
}

export interface MessageStreamOptions {
  readonly maxMessageBytes: number;
  /** Milliseconds on the monotonic clock. */
  readonly now: () => number;
  /**
   * True for a stream we opened to write on: it need not carry anything to us, and stays open when the peer
   * ends its half.
   */
  readonly own?: boolean;
}

/**
 * The reading half of one bidirectional stream: frames, and whether it is silent in the middle of something.
 */
export class MessageStream {
  readonly stream: QuicStream;
  readonly #decoder: FrameDecoder;
  readonly #now: () => number;
  readonly #events: MessageStreamEvents;
  #lastHeard: number;
  #owesFirstFrame: boolean;
  #kept = 0;

  constructor(
    stream: QuicStream,
    events: MessageStreamEvents,
    { maxMessageBytes, now, own = false }: MessageStreamOptions,
  ) {
    this.stream = stream;
    this.#decoder = new FrameDecoder({ maxMessageBytes });
    this.#now = now;
    this.#events = events;
    this.#lastHeard = now();
    this.#owesFirstFrame = !own;
    const end = () => {
      this.#keep(0);
      events.onEnd(this);
    };
    stream.on('error', end);
    stream.on('close', end);
    if (!own) stream.on('end', () => stream.end());
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  /** Silence, in milliseconds, of a stream that owes something: its first frame, or the rest of one. */
  owesForMs(now: number): number {
    return this.#owesFirstFrame || this.#kept > 0 ? now - this.#lastHeard : 0;
  }

  #read(chunk: Buffer): void {
    this.#lastHeard = this.#now();
    this.#events.onBytes(chunk.length);
    try {
      this.#decoder.push(chunk, (frame) => {
        this.#owesFirstFrame = false;
        this.#events.onFrame(frame);
      });
      this.#keep(this.#decoder.bufferedBytes);
    } catch (error) {
      this.#keep(0);
      this.#events.onBroken(error);
    }
  }

  #keep(bytes: number): void {
    const change = bytes - this.#kept;
    this.#kept = bytes;
    if (change !== 0) this.#events.onKept(change);
  }
}
