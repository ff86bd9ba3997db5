import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../core/clock.ts';
import { closeReason } from '../../protocol/close-reasons.ts';
import type { Message } from '../../protocol/message.ts';
import type { StreamWriter } from '../../protocol/stream-writer.ts';
import type { EdgeSession } from '../framed/edge-session.ts';
import type { FrameCarrier, FramedConnection } from '../framed/framed-connection.ts';

export interface SingleStreamComponents {
  readonly connection: FramedConnection;
  readonly control: StreamWriter;
  readonly session: EdgeSession;
  readonly clock: Clock;
}

export interface SingleStreamOptions {
  /** Bytes in either direction after which the edge is asked to come back. */
  readonly sessionBytes: number;
  /** Largest hint how long the edge should wait before it comes back. */
  readonly reconnectWithinMs: number;
}

/** How long a session that is to be renewed waits for what is under way; longer where the way is long. */
const RETIRE_MS = 250;
/**
 * What a retiring session may still carry before it ends at once: less than the credit the setting leaves.
 */
const RESERVE_BYTES = 32 * 1024 * 1024;

/**
 * Carries all frames on the stream of the hello. Reads no further while the hub has as much of the connection
 * as it may. A session's credit is finite: before it is used up, the edge is asked for a new one.
 */
export class SingleStream implements FrameCarrier {
  readonly writers = [];
  readonly #components: SingleStreamComponents;
  readonly #options: SingleStreamOptions;
  readonly #stream: Duplex;
  readonly #over = Promise.withResolvers<void>();
  #retiring: Timer | undefined;

  constructor(components: SingleStreamComponents, options: SingleStreamOptions) {
    this.#components = components;
    this.#options = options;
    this.#stream = components.control.stream as Duplex;
  }

  /**
   * A session that is about to be renewed begins nothing new. Answers still go: without them the edge would
   * send again.
   */
  writer(message: Message): StreamWriter | Promise<StreamWriter> {
    const { control } = this.#components;
    const mustWait = this.#retiring && message.header.parent_msg_id === undefined;
    return mustWait ? this.#over.promise.then(() => control) : control;
  }

  onBacklog(_bytes: number, isFull: boolean): void {
    if (isFull) this.#stream.pause();
    else if (this.#stream.isPaused()) this.#stream.resume();
  }

  /** Acknowledgements that are under way are waited for a moment, so that little has to be sent again. */
  onTraffic(bytes: number): void {
    const { sessionBytes } = this.#options;
    if (bytes < sessionBytes) return;
    const { session, clock } = this.#components;
    const waitMs = Math.max(RETIRE_MS, 3 * (session.rttMs ?? 0));
    this.#retiring ??= clock.setTimeout(() => this.#renew(), waitMs);
    if (bytes >= sessionBytes + RESERVE_BYTES) this.#renew();
  }

  ended(): void {
    this.#retiring?.cancel();
    this.#over.resolve();
  }

  #renew(): void {
    const hintMs = Math.random() * this.#options.reconnectWithinMs;
    this.#components.connection.close(closeReason('Rebalance', hintMs));
  }
}
