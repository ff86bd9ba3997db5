import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type {
  ConnectionStats,
  EdgeConnection,
  EdgeConnectionHandler,
} from '../../contracts/edge-connection.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import type { NodeIdentity } from '../../identity/node-identity.ts';
import { type CloseReason, closeReason, closeText } from '../../protocol/close-reasons.ts';
import {
  decodeFramed,
  encodeFrame,
  encodeFramed,
  FRAME_TYPES,
  type Frame,
} from '../../protocol/codec-framed.ts';
import type { Message } from '../../protocol/message.ts';
import { StreamWriter } from '../../protocol/stream-writer.ts';
import type { EdgeSession } from './edge-session.ts';

export interface WebTransportConnectionComponents {
  readonly session: EdgeSession;
  /** The session's one stream, on which hello and welcome were exchanged. */
  readonly stream: Duplex;
  readonly clock: Clock;
}

export interface WebTransportConnectionOptions {
  readonly peer: NodeIdentity;
  readonly projectId: string;
  readonly agent?: string;
  readonly maxPendingUpstream: number;
  readonly writeTimeoutMs: number;
  /** Bytes in either direction after which the edge is asked to come back. */
  readonly sessionBytes: number;
  /** Largest hint how long the edge should wait before it comes back. */
  readonly reconnectWithinMs: number;
}

/** A caller that does not wait for `send` can have so much waiting, then the peer counts as slow. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;
/** How long a session that is to be renewed waits for what is under way; longer where the way is long. */
const RETIRE_MS = 250;
/**
 * What a retiring session may still carry before it ends at once: less than the credit the setting leaves.
 */
const RESERVE_BYTES = 32 * 1024 * 1024;
const PONG = encodeFrame(FRAME_TYPES.pong, new Uint8Array());

/**
 * One edge over WebTransport: frames on one stream. Reads no further while the hub has as much of it as it
 * may.
 */
export class WebTransportConnection implements EdgeConnection {
  readonly id = randomUUID();
  readonly transport = 'webtransport';
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  readonly projectId: string;
  readonly agent?: string;
  readonly #session: EdgeSession;
  readonly #stream: Duplex;
  readonly #writer: StreamWriter;
  readonly #clock: Clock;
  readonly #options: WebTransportConnectionOptions;
  /** Frames of a chunk that was read when the hub had room. */
  readonly #waiting: Frame[] = [];
  #pending = 0;
  #handler: EdgeConnectionHandler | undefined;
  #bytesReceived = 0;
  #bytesSent = 0;
  #retiring: Timer | undefined;
  readonly #over = Promise.withResolvers<void>();
  #closed = false;

  constructor(
    { session, stream, clock }: WebTransportConnectionComponents,
    options: WebTransportConnectionOptions,
  ) {
    this.#session = session;
    this.#stream = stream;
    this.#clock = clock;
    this.#writer = new StreamWriter(stream, () => clock.monotonic());
    this.#options = options;
    this.peer = options.peer;
    this.remoteAddress = session.remoteAddress;
    this.projectId = options.projectId;
    if (options.agent !== undefined) this.agent = options.agent;
  }

  stats(): ConnectionStats {
    const { rttMs } = this.#session;
    return {
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      bytesBuffered: this.#writer.bufferedBytes,
      ...(rttMs === undefined ? {} : { rttMs }),
    };
  }

  receive(handler: EdgeConnectionHandler): void {
    this.#handler = handler;
  }

  async send(message: Message): Promise<void> {
    // A session that is about to be renewed begins nothing new. Answers still go: without them the edge would
    // send again.
    if (this.#retiring && message.header.parent_msg_id === undefined) await this.#over.promise;
    await this.write(encodeFramed(message));
  }

  /** Writes a whole frame. @throws SESSION_CLOSED */
  async write(frame: Uint8Array): Promise<void> {
    if (this.#closed) throw new SallyportError('SESSION_CLOSED', { reason: 'the connection has ended' });
    if (this.#writer.bufferedBytes > MAX_BUFFERED_BYTES) {
      this.close(closeReason('SlowConsumer'));
      throw new SallyportError('SESSION_CLOSED', { reason: 'SlowConsumer' });
    }
    await this.#writer.write(frame);
    this.#bytesSent += frame.length;
    this.#renewInTime();
  }

  close(reason: CloseReason): void {
    if (this.#closed) return;
    this.#session.close(reason.code, closeText(reason));
    this.ended(reason);
  }

  /** Bytes arrived on the stream. */
  onBytes(count: number): void {
    this.#bytesReceived += count;
    this.#renewInTime();
  }

  /** A frame after the hello. */
  onFrame(frame: Frame): void {
    if (this.#closed) return;
    if (frame.type === FRAME_TYPES.hello) this.close(closeReason('ProtocolError'));
    else if (frame.type === FRAME_TYPES.message) {
      this.#waiting.push(frame);
      this.#deliverWaiting();
    } else {
      this.#handler?.onAlive();
      // A peer that asks and never reads is caught by its write time-out; it gets no further answers
      // meanwhile.
      if (frame.type === FRAME_TYPES.ping && this.#writer.bufferedBytes === 0)
        this.write(PONG).catch(() => {});
    }
  }

  /** The bytes are no frames, or a frame is no message. */
  onBroken(error: unknown): void {
    const name = isSallyportError(error, 'MESSAGE_TOO_LARGE')
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
    this.#retiring?.cancel();
    this.#over.resolve();
    this.#handler?.onClose(reason);
  }

  /** Looks for a peer that takes nothing; called about once a second. */
  sweep(now: number): void {
    if (this.#writer.stalledMs(now) >= this.#options.writeTimeoutMs) this.close(closeReason('SlowConsumer'));
  }

  #deliverWaiting(): void {
    while (!this.#closed && this.#pending < this.#options.maxPendingUpstream) {
      const frame = this.#waiting.shift();
      if (!frame) {
        if (this.#stream.isPaused()) this.#stream.resume();
        return;
      }
      this.#deliver(frame);
    }
    if (!this.#closed) this.#stream.pause();
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

  /**
   * A session's credit is finite: before it is used up, the edge is asked for a new one. Acknowledgements
   * that are under way are waited for a moment, so that little has to be sent again.
   */
  #renewInTime(): void {
    const { sessionBytes } = this.#options;
    const used = Math.max(this.#bytesReceived, this.#bytesSent);
    if (this.#closed || used < sessionBytes) return;
    const waitMs = Math.max(RETIRE_MS, 3 * (this.#session.rttMs ?? 0));
    this.#retiring ??= this.#clock.setTimeout(() => this.#renew(), waitMs);
    if (used >= sessionBytes + RESERVE_BYTES) this.#renew();
  }

  #renew(): void {
    this.close(closeReason('Rebalance', Math.random() * this.#options.reconnectWithinMs));
  }
}
