import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type {
  ConnectionStats,
  EdgeConnection,
  EdgeConnectionHandler,
} from '../../contracts/edge-connection.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { KeyExchange } from '../../core/tls-groups.ts';
import type { NodeIdentity } from '../../identity/node-identity.ts';
import { type CloseReason, closeReason, closeText, refusalOf } from '../../protocol/close-reasons.ts';
import {
  decodeFramed,
  decodeFramedInTurns,
  encodeFrame,
  encodeFramed,
  FRAME_TYPES,
  type Frame,
} from '../../protocol/codec-framed.ts';
import type { JsonLimits } from '../../protocol/json-scan.ts';
import type { TransportName } from '../../protocol/listener-names.ts';
import type { Message } from '../../protocol/message.ts';
import { SHARE_BYTES } from '../../protocol/scan-in-turns.ts';
import { StreamWriter } from '../../protocol/stream-writer.ts';
import { type IntakeOwner, UpstreamIntake } from '../upstream-intake.ts';
import type { EdgeSession } from './edge-session.ts';

/** What each framed transport does in its own way: on which streams messages go, and how it slows an edge. */
export interface FrameCarrier {
  /** Of its streams for messages; the control stream is not among them. */
  readonly writers: Iterable<StreamWriter>;
  /** Where this message goes, `bytes` long; a promise while nothing new may begin. */
  writer(message: Message, bytes: number): StreamWriter | Promise<StreamWriter>;
  /** So many bytes wait for the hub. While `isFull`, nothing more should be read. */
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
  readonly maxMessageBytes: number;
  readonly maxPendingUpstream: number;
  readonly jsonLimits: JsonLimits;
  /** A message was refused: the word it is counted under. */
  readonly onDropped: (reason: string) => void;
  readonly writeTimeoutMs: number;
}

/** A caller that does not wait for `send` can have so much waiting, then the peer counts as slow. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;
const PONG = encodeFrame(FRAME_TYPES.pong, new Uint8Array());

/** One edge over QUIC or WebTransport: frames, however they travel. */
export class FramedConnection implements EdgeConnection, IntakeOwner {
  readonly id = randomUUID();
  readonly transport: TransportName;
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  readonly projectId: string;
  readonly agent?: string;
  readonly #session: EdgeSession;
  readonly #control: StreamWriter;
  readonly #carrier: FrameCarrier;
  readonly #options: FramedConnectionOptions;
  readonly #intake: UpstreamIntake;
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
    this.#options = options;
    this.#session = session;
    this.#control = new StreamWriter(control, () => clock.monotonic());
    this.#carrier = carry(this, this.#control);
    this.#intake = new UpstreamIntake(this, () => options);
  }

  get keyExchange(): KeyExchange | undefined {
    return this.#session.keyExchange;
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
    this.#intake.receive(handler);
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
      this.#intake.take(frame.payload);
    } else {
      this.#handler?.onAlive();
      // A peer that asks and never reads is caught by its write time-out; it gets no further answers
      // meanwhile.
      if (frame.type === FRAME_TYPES.ping && this.#control.bufferedBytes === 0) this.sendControl(PONG);
    }
  }

  /** The bytes are no frames, or a frame is no message. */
  onBroken(error: unknown): void {
    if (this.#closed) return;
    const { close, counted } = refusalOf(error);
    this.#options.onDropped(counted);
    this.close(closeReason(close));
  }

  decode(payload: Uint8Array): Message | Promise<Message> {
    const { jsonLimits } = this.#options;
    return payload.length > SHARE_BYTES
      ? decodeFramedInTurns(payload, jsonLimits)
      : decodeFramed(payload, jsonLimits);
  }

  onFailed(error: unknown): void {
    this.onBroken(error);
  }

  onBacklog(bytes: number, isFull: boolean): void {
    this.#carrier.onBacklog(bytes, isFull);
  }

  /** The session ended, whoever ended it. */
  ended(reason: CloseReason | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    for (let lost = this.#intake.end(); lost > 0; lost--) this.#options.onDropped('connection-closed');
    this.#carrier.ended?.();
    this.#handler?.onClose(reason);
  }

  /** Looks for a peer that takes nothing; called about once a second. */
  sweep(now: number): void {
    this.#carrier.sweep?.(now);
    this.#intake.sweep();
    for (const writer of [this.#control, ...this.#carrier.writers])
      if (writer.stalledMs(now) >= this.#options.writeTimeoutMs) this.close(closeReason('SlowConsumer'));
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
}
