import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
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
import type { TransportName } from '../../protocol/listener-names.ts';
import type { Message } from '../../protocol/message.ts';
import { StreamWriter } from '../../protocol/stream-writer.ts';
import type { EdgeSession } from './edge-session.ts';

/** What each framed transport does in its own way: on which streams messages go, and how it slows an edge. */
export interface FrameCarrier {
  /** Of its streams for messages; the control stream is not among them. */
  readonly writers: Iterable<StreamWriter>;
  /** Where this message goes, `bytes` long; a promise while nothing new may begin. */
  writer(message: Message, bytes: number): StreamWriter | Promise<StreamWriter>;
  /** So many bytes wait for the hub. `isFull`: it has as many messages of this connection as it may. */
  onBacklog(bytes: number, isFull: boolean): void;
  /** The session has carried so many bytes, in the direction that carried more. */
  onTraffic?(bytes: number): void;
  /** About once a second; milliseconds on the monotonic clock. */
  sweep?(now: number): void;
  ended?(): void;
}

/** Makes the carrier of a connection. `control` writes to the stream of hello and welcome. */
export type Carry = (connection: FramedConnection, control: StreamWriter) => FrameCarrier;

export interface FramedConnectionComponents {
  readonly session: EdgeSession;
  /** The client's first stream, on which hello and welcome were exchanged. */
  readonly control: Duplex;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly carry: Carry;
}

export interface FramedConnectionOptions {
  readonly transport: TransportName;
  readonly peer: NodeIdentity;
  readonly projectId: string;
  readonly agent?: string;
  readonly maxPendingUpstream: number;
  readonly writeTimeoutMs: number;
}

/** A caller that does not wait for `send` can have so much waiting, then the peer counts as slow. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;
const PONG = encodeFrame(FRAME_TYPES.pong, new Uint8Array());

/** One edge over QUIC or WebTransport: frames, however they travel. */
export class FramedConnection implements EdgeConnection {
  readonly id = randomUUID();
  readonly transport: TransportName;
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  readonly projectId: string;
  readonly agent?: string;
  readonly #session: EdgeSession;
  readonly #control: StreamWriter;
  readonly #carrier: FrameCarrier;
  readonly #maxPendingUpstream: number;
  readonly #writeTimeoutMs: number;
  /** Messages for which the hub had no room yet. */
  readonly #waiting: Frame[] = [];
  #waitingBytes = 0;
  #pending = 0;
  #handler: EdgeConnectionHandler | undefined;
  #bytesReceived = 0;
  #bytesSent = 0;
  #closed = false;

  constructor(
    { session, control, clock, carry }: FramedConnectionComponents,
    options: FramedConnectionOptions,
  ) {
    this.transport = options.transport;
    this.peer = options.peer;
    this.remoteAddress = session.remoteAddress;
    this.projectId = options.projectId;
    if (options.agent !== undefined) this.agent = options.agent;
    this.#maxPendingUpstream = options.maxPendingUpstream;
    this.#writeTimeoutMs = options.writeTimeoutMs;
    this.#session = session;
    this.#control = new StreamWriter(control, () => clock.monotonic());
    this.#carrier = carry(this, this.#control);
  }

  stats(): ConnectionStats {
    const rttMs = this.#closed ? undefined : this.#session.rttMs;
    return {
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      bytesBuffered: this.#bytesBuffered(),
      ...(rttMs === undefined ? {} : { rttMs }),
    };
  }

  receive(handler: EdgeConnectionHandler): void {
    this.#handler = handler;
  }

  async send(message: Message): Promise<void> {
    this.#assertOpen();
    const frame = encodeFramed(message);
    const writer = this.#carrier.writer(message, frame.length);
    await this.#write(writer instanceof Promise ? await writer : writer, frame);
  }

  /** Writes a control frame; whoever waits for a session that has ended is told by `onClose`. */
  sendControl(frame: Uint8Array): void {
    this.#write(this.#control, frame).catch(() => {});
  }

  close(reason: CloseReason): void {
    if (this.#closed) return;
    this.#session.close(reason.code, closeText(reason));
    this.ended(reason);
  }

  /** Bytes arrived. */
  onBytes(count: number): void {
    this.#bytesReceived += count;
    this.#carrier.onTraffic?.(Math.max(this.#bytesReceived, this.#bytesSent));
  }

  /** A frame after the hello. */
  onFrame(frame: Frame): void {
    if (this.#closed) return;
    if (frame.type === FRAME_TYPES.hello) this.close(closeReason('ProtocolError'));
    else if (frame.type === FRAME_TYPES.message) {
      this.#waiting.push(frame);
      this.#waitingBytes += frame.payload.length;
      this.#deliverWaiting();
    } else {
      this.#handler?.onAlive();
      // A peer that asks and never reads is caught by its write time-out; it gets no further answers
      // meanwhile.
      if (frame.type === FRAME_TYPES.ping && this.#control.bufferedBytes === 0) this.sendControl(PONG);
    }
  }

  /** The bytes are no frames, or a frame is no message. */
  onBroken(error: unknown): void {
    const name: CloseReasonName = isSallyportError(error, 'MESSAGE_TOO_LARGE')
      ? 'MessageTooLarge'
      : isSallyportError(error, 'MESSAGE_INVALID')
        ? 'ProtocolError'
        : 'InternalError';
    this.close(closeReason(name));
  }

  /** The session ended, whoever ended it. */
  ended(reason: CloseReason | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting.length = 0;
    this.#carrier.ended?.();
    this.#handler?.onClose(reason);
  }

  /** Looks for a peer that takes nothing; called about once a second. */
  sweep(now: number): void {
    this.#carrier.sweep?.(now);
    for (const writer of [this.#control, ...this.#carrier.writers])
      if (writer.stalledMs(now) >= this.#writeTimeoutMs) this.close(closeReason('SlowConsumer'));
  }

  #bytesBuffered(): number {
    let bytes = this.#control.bufferedBytes;
    for (const writer of this.#carrier.writers) bytes += writer.bufferedBytes;
    return bytes;
  }

  #assertOpen(): void {
    if (this.#closed) throw new SallyportError('SESSION_CLOSED', { reason: 'the connection has ended' });
  }

  async #write(writer: StreamWriter, frame: Uint8Array): Promise<void> {
    this.#assertOpen();
    if (this.#bytesBuffered() > MAX_BUFFERED_BYTES) {
      this.close(closeReason('SlowConsumer'));
      throw new SallyportError('SESSION_CLOSED', { reason: 'SlowConsumer' });
    }
    await writer.write(frame);
    this.#bytesSent += frame.length;
    if (!this.#closed) this.#carrier.onTraffic?.(Math.max(this.#bytesReceived, this.#bytesSent));
  }

  #deliverWaiting(): void {
    while (!this.#closed && this.#pending < this.#maxPendingUpstream) {
      const frame = this.#waiting.shift();
      if (!frame) break;
      this.#waitingBytes -= frame.payload.length;
      this.#deliver(frame);
    }
    if (!this.#closed) this.#carrier.onBacklog(this.#waitingBytes, this.#pending >= this.#maxPendingUpstream);
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
      this.onBroken(error);
    }
  }
}
