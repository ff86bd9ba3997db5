import { randomUUID } from 'node:crypto';
import type { QuicServerSession, QuicStream } from '@currentspace/http3';
import type {
  ConnectionStats,
  EdgeConnection,
  EdgeConnectionHandler,
} from '../../contracts/edge-connection.ts';
import type { Clock } from '../../core/clock.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import type { NodeIdentity } from '../../identity/node-identity.ts';
import {
  type CloseReason,
  type CloseReasonName,
  closeReason,
  closeText,
} from '../../protocol/close-reasons.ts';
import {
  decodeFramed,
  encodeFrame,
  encodeFramed,
  FRAME_TYPES,
  type Frame,
} from '../../protocol/codec-framed.ts';
import type { Message } from '../../protocol/message.ts';
import { type Lane, MessageLanes } from '../../protocol/message-lanes.ts';
import { StreamWriter } from '../../protocol/stream-writer.ts';
import { MessageStream } from './message-stream.ts';

export interface QuicConnectionComponents {
  readonly session: QuicServerSession;
  /** The client's first stream, on which hello and welcome were exchanged. */
  readonly control: QuicStream;
  readonly clock: Pick<Clock, 'monotonic'>;
}

export interface QuicConnectionOptions {
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  readonly projectId: string;
  readonly agent?: string;
  readonly maxMessageBytes: number;
  readonly maxPendingUpstream: number;
  readonly streamTimeoutMs: number;
  readonly writeTimeoutMs: number;
}

/** What may be incomplete or waiting beside one largest message, bytes. */
const SLACK_BYTES = 1024 * 1024;
const PONG = encodeFrame(FRAME_TYPES.pong, new Uint8Array());

/**
 * One edge over QUIC. Reads every stream on its own, writes small and large messages to streams of their own.
 */
export class QuicConnection implements EdgeConnection {
  readonly id = randomUUID();
  readonly transport = 'quic';
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  readonly projectId: string;
  readonly agent?: string;
  readonly #session: QuicServerSession;
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #options: QuicConnectionOptions;
  readonly #control: StreamWriter;
  readonly #lanes = new MessageLanes();
  readonly #writers = new Map<Lane, StreamWriter>();
  readonly #streams = new Set<MessageStream>();
  /** Frames that wait because the hub has as many messages of this connection as it may. */
  readonly #waiting: Frame[] = [];
  #waitingBytes = 0;
  #incompleteBytes = 0;
  #pending = 0;
  #handler: EdgeConnectionHandler | undefined;
  #bytesReceived = 0;
  #bytesSent = 0;
  #closed = false;

  constructor({ session, control, clock }: QuicConnectionComponents, options: QuicConnectionOptions) {
    this.#session = session;
    this.#clock = clock;
    this.#options = options;
    this.#control = new StreamWriter(control, () => clock.monotonic());
    this.peer = options.peer;
    this.remoteAddress = options.remoteAddress;
    this.projectId = options.projectId;
    if (options.agent !== undefined) this.agent = options.agent;
  }

  stats(): ConnectionStats {
    const rttMs = this.#closed ? undefined : this.#session.getMetrics()?.rttMs;
    let bytesBuffered = this.#control.bufferedBytes;
    for (const writer of this.#writers.values()) bytesBuffered += writer.bufferedBytes;
    return {
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      bytesBuffered,
      ...(rttMs ? { rttMs } : {}),
    };
  }

  receive(handler: EdgeConnectionHandler): void {
    this.#handler = handler;
  }

  async send(message: Message): Promise<void> {
    if (this.#closed) throw new SallyportError('SESSION_CLOSED', { reason: 'the connection has ended' });
    const frame = encodeFramed(message);
    const lane = this.#lanes.choose(message.route.resource, frame.length, this.#clock.monotonic());
    await this.#writer(lane).write(frame);
    this.#bytesSent += frame.length;
  }

  close(reason: CloseReason): void {
    if (this.#closed) return;
    this.#session.close(reason.code, closeText(reason));
    this.#waiting.length = 0;
    this.ended(reason);
  }

  /** A stream the edge opened after the control stream. */
  addStream(stream: QuicStream): void {
    this.#read(stream, false);
  }

  /** A frame on the control stream after the hello. */
  onControlFrame(frame: Frame): void {
    if (this.#closed) return;
    if (frame.type === FRAME_TYPES.message || frame.type === FRAME_TYPES.hello) {
      this.close(closeReason('ProtocolError'));
      return;
    }
    this.#handler?.onAlive();
    // A peer that asks and never reads is caught by its write time-out; it gets no further answers meanwhile.
    if (frame.type === FRAME_TYPES.ping && this.#control.bufferedBytes === 0)
      this.#write(this.#control, PONG);
  }

  onControlBroken(error: unknown): void {
    this.#onBroken(error);
  }

  /** The session ended, whoever ended it. */
  ended(reason: CloseReason | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handler?.onClose(reason);
  }

  /** Looks for silent streams and a peer that takes nothing; called about once a second. */
  sweep(now: number): void {
    const { streamTimeoutMs, writeTimeoutMs } = this.#options;
    for (const one of this.#streams) {
      if (one.owesForMs(now) < streamTimeoutMs) continue;
      this.#streams.delete(one);
      one.stream.close(closeReason('StreamTimeout').code);
    }
    for (const writer of [this.#control, ...this.#writers.values()])
      if (writer.stalledMs(now) >= writeTimeoutMs) this.close(closeReason('SlowConsumer'));
  }

  #onFrame(frame: Frame): void {
    if (this.#closed) return;
    if (frame.type !== FRAME_TYPES.message) {
      this.#handler?.onAlive();
      return;
    }
    if (this.#pending < this.#options.maxPendingUpstream && this.#waiting.length === 0) {
      this.#deliver(frame);
      return;
    }
    this.#waiting.push(frame);
    this.#waitingBytes += frame.payload.length;
    // The library gives the peer credit for what it has handed to us, so waiting cannot push back further
    // than this.
    if (this.#waitingBytes > this.#options.maxMessageBytes + SLACK_BYTES)
      this.close(closeReason('TryAgainLater'));
  }

  #deliver(frame: Frame): void {
    try {
      const taken = this.#handler?.onMessage(decodeFramed(frame.payload), frame.payload.length);
      if (!taken) return;
      this.#pending++;
      taken
        .catch(() => {})
        .finally(() => {
          this.#pending--;
          this.#deliverWaiting();
        });
    } catch (error) {
      this.#onBroken(error);
    }
  }

  #deliverWaiting(): void {
    while (!this.#closed && this.#pending < this.#options.maxPendingUpstream) {
      const frame = this.#waiting.shift();
      if (!frame) return;
      this.#waitingBytes -= frame.payload.length;
      this.#deliver(frame);
    }
  }

  #onBroken(error: unknown): void {
    const name: CloseReasonName = isSallyportError(error, 'MESSAGE_TOO_LARGE')
      ? 'MessageTooLarge'
      : isSallyportError(error, 'MESSAGE_INVALID')
        ? 'ProtocolError'
        : 'InternalError';
    this.close(closeReason(name));
  }

  #writer(lane: Lane): StreamWriter {
    const known = this.#writers.get(lane);
    if (known && !known.stream.destroyed) return known;
    const stream = this.#session.openStream();
    const writer = new StreamWriter(stream, () => this.#clock.monotonic());
    this.#writers.set(lane, writer);
    // The edge may answer on the same stream.
    this.#read(stream, true);
    return writer;
  }

  #read(stream: QuicStream, own: boolean): void {
    const { maxMessageBytes } = this.#options;
    const events = {
      onBytes: (bytes: number) => {
        this.#bytesReceived += bytes;
      },
      onKept: (change: number) => {
        this.#incompleteBytes += change;
        if (this.#incompleteBytes > maxMessageBytes + SLACK_BYTES) this.close(closeReason('MessageTooLarge'));
      },
      onFrame: (frame: Frame) => this.#onFrame(frame),
      onBroken: (error: unknown) => this.#onBroken(error),
      onEnd: (ended: MessageStream) => this.#streams.delete(ended),
    };
    this.#streams.add(
      new MessageStream(stream, events, { maxMessageBytes, own, now: () => this.#clock.monotonic() }),
    );
  }

  #write(writer: StreamWriter, frame: Uint8Array): void {
    writer.write(frame).catch(() => {
      // The session has ended; whoever waits for it is told by `onClose`.
    });
  }
}
