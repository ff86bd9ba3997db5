import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type {
  ConnectionStats,
  EdgeConnection,
  EdgeConnectionHandler,
} from '../../contracts/edge-connection.ts';
import { batchWrites } from '../../core/batch-writes.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { NodeIdentity } from '../../identity/node-identity.ts';
import {
  type CloseReason,
  type CloseReasonName,
  closeByEdge,
  closeReason,
  closeText,
  refusalOf,
} from '../../protocol/close-reasons.ts';
import { decodeJson, encodeJson, isGoodbye } from '../../protocol/codec-json.ts';
import type { JsonLimits } from '../../protocol/json-scan.ts';
import type { Message } from '../../protocol/message.ts';
import { textFrame } from './text-frame.ts';

/** What connections share: one object a listener, so that a connection holds a single reference. */
export interface ConnectionContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly maxMessageBytes: () => number;
  readonly maxPendingUpstream: () => number;
  readonly jsonLimits: () => JsonLimits;
  readonly writeTimeoutMs: () => number;
  /** Connections the sweep has to look at: writing, paused or closing. All others cost it nothing. */
  readonly watched: Set<WebSocketConnection>;
}

export interface ConnectionFacts {
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  readonly projectId: string;
  readonly agent: string | undefined;
}

/** How long a peer may take to answer a close frame before its socket is destroyed. */
const CLOSE_DEADLINE_MS = 2_000;
/** What a connection keeps beyond the pending messages so that keepalives behind them are still seen. */
const MAX_HELD_BYTES = 16 * 1024;
/**
 * Beyond this a peer that does not read gets no pongs either: it could not see them, and they would pile up.
 */
const MAX_BUFFERED_FOR_PONG = 64 * 1024;
const DONE = Promise.resolve();
const TEXT = { binary: false } as const;
const CONNECTION = Symbol('connection');
type Owned = WebSocket & { [CONNECTION]: WebSocketConnection };
type OwnedStream = Duplex & { [CONNECTION]: WebSocketConnection };

/**
 * One edge on WebSocket. Text frames are messages, one each.
 *
 * Back-pressure: at most `maxPendingUpstream` messages are with the handler; what is read meanwhile is held,
 * up to 16 KiB, and each held frame counts as life (I9). When that is full too the socket is paused: the node
 * then has unread data with us, so the silence is ours and the sweep reports life for it until we read again.
 * A write deadline still ends a peer that is gone.
 */
export class WebSocketConnection implements EdgeConnection {
  readonly transport = 'websocket';
  readonly id = randomUUID();
  readonly agent?: string;
  readonly #context: ConnectionContext;
  readonly #facts: ConnectionFacts;
  readonly #socket: WebSocket;
  /** Under the WebSocket. */
  readonly #stream: Duplex;
  #handler: EdgeConnectionHandler | undefined;
  #reason: CloseReason | undefined;
  #closeDeadline = 0;
  #pending = 0;
  #pendingBytes = 0;
  #held: Buffer[] | undefined;
  #heldBytes = 0;
  #bytesReceived = 0;
  #bytesSent = 0;
  /**
   * The write deadline: by then the peer must have taken the first `#writeGoal` bytes. 0 when nothing is
   * awaited.
   */
  #writeDeadline = 0;
  #writeGoal = 0;
  #drained: PromiseWithResolvers<void> | undefined;
  /** When the last ping of ours went out, milliseconds since the epoch; 0 before the first. */
  #pingedAt: number | undefined;
  #rttMs: number | undefined;

  /** @param ends the WebSocket, and the stream under it */
  constructor(
    context: ConnectionContext,
    facts: ConnectionFacts,
    ends: { socket: WebSocket; stream: Duplex },
  ) {
    const { socket, stream } = ends;
    this.#context = context;
    this.#facts = facts;
    this.#socket = socket;
    this.#stream = stream;
    if (facts.agent !== undefined) this.agent = facts.agent;
    (socket as Owned)[CONNECTION] = this;
    (stream as OwnedStream)[CONNECTION] = this;
    stream.on('drain', onDrain);
    socket.on('message', onMessage).on('ping', onPing).on('pong', onPong);
    socket.on('error', onError).on('close', onClose);
  }

  get peer(): NodeIdentity {
    return this.#facts.peer;
  }
  get remoteAddress(): string {
    return this.#facts.remoteAddress;
  }
  get projectId(): string {
    return this.#facts.projectId;
  }

  stats(): ConnectionStats {
    return {
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      bytesBuffered: this.#socket.bufferedAmount,
      ...(this.#rttMs === undefined ? {} : { rttMs: this.#rttMs }),
    };
  }

  /** Measures the round trip, at most once in `periodMs`. Nobody is ended for not answering. */
  ping(now: number, periodMs: number): void {
    if (this.#pingedAt !== undefined && now - this.#pingedAt < periodMs) return;
    if (this.#reason || this.#socket.readyState !== this.#socket.OPEN || this.#socket.bufferedAmount > 0)
      return;
    this.#pingedAt = now;
    this.#socket.ping(String(now));
  }

  receive(handler: EdgeConnectionHandler): void {
    this.#handler = handler;
  }

  send(message: Message): Promise<void> {
    if (this.#reason || this.#socket.readyState !== this.#socket.OPEN) return Promise.reject(this.#closed());
    return this.#write(encodeJson(message)) ?? DONE;
  }

  sendJson(bytes: Uint8Array): void | Promise<void> {
    if (this.#reason || this.#socket.readyState !== this.#socket.OPEN) return Promise.reject(this.#closed());
    return this.#write(bytes);
  }

  #write(bytes: Uint8Array): undefined | Promise<void> {
    this.#bytesSent += bytes.length;
    batchWrites(this.#stream);
    const frame = textFrame(bytes);
    if (frame) this.#stream.write(frame);
    else this.#socket.send(bytes, TEXT);
    const buffered = this.#socket.bufferedAmount;
    if (buffered === 0) return undefined;
    if (this.#writeDeadline === 0) this.#expectWritten();
    if (buffered <= HIGH_WATER) return undefined;
    if (buffered > MAX_BUFFERED_MESSAGES * this.#context.maxMessageBytes()) {
      this.#abandonSlow();
      return Promise.reject(this.#closed());
    }
    this.#drained ??= withResolversHandled();
    return this.#drained.promise;
  }

  close(reason: CloseReason): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#closeDeadline = this.#context.clock.monotonic() + CLOSE_DEADLINE_MS;
    this.#context.watched.add(this);
    this.#forgetHeld();
    this.#socket.close(reason.code, closeText(reason));
    // The peer's close frame has to be read, and whatever is before it is thrown away.
    if (this.#socket.isPaused) this.#socket.resume();
    this.#drained?.reject(this.#closed());
    this.#drained = undefined;
  }

  /** Destroys the socket without a word. */
  terminate(): void {
    this.#socket.terminate();
  }

  /** Looks at deadlines. @returns false when there is nothing more to watch */
  sweep(now: number): boolean {
    if (this.#closeDeadline !== 0) {
      if (now >= this.#closeDeadline) this.#socket.terminate();
      return true;
    }
    if (this.#socket.isPaused) this.#handler?.onAlive();
    this.#sweepWrites(now);
    return this.#writeDeadline !== 0 || this.#socket.isPaused || this.#closeDeadline !== 0;
  }

  #sweepWrites(now: number): void {
    if (this.#writeDeadline === 0) return;
    const buffered = this.#socket.bufferedAmount;
    if (buffered === 0) this.#writeDeadline = 0;
    else if (this.#bytesSent - buffered >= this.#writeGoal) this.#expectWritten();
    else if (now >= this.#writeDeadline) this.#abandonSlow();
    if (buffered <= HIGH_WATER) this.onDrain();
  }

  #expectWritten(): void {
    this.#writeDeadline = this.#context.clock.monotonic() + this.#context.writeTimeoutMs();
    // Frame headers are not counted in `#bytesSent`, only in what is buffered: the goal errs on the side of
    // the peer.
    this.#writeGoal = this.#bytesSent - this.#socket.bufferedAmount + 1;
    this.#context.watched.add(this);
  }

  /** A peer that does not read will not read a close frame either. */
  #abandonSlow(): void {
    this.close(closeReason('SlowConsumer'));
    this.#socket.terminate();
  }

  onDrain(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  onFrame(data: Buffer, isBinary: boolean): void {
    if (this.#reason) return;
    this.#bytesReceived += data.length;
    if (isBinary) {
      this.#refuse('UnsupportedData', 'binary-frame');
      return;
    }
    if (this.#held === undefined && this.#mayDeliver(data.length)) {
      this.#deliver(data);
      return;
    }
    this.#handler?.onAlive();
    this.#held ??= [];
    this.#held.push(data);
    this.#heldBytes += data.length;
    if (this.#heldBytes > MAX_HELD_BYTES && !this.#socket.isPaused) {
      this.#socket.pause();
      this.#context.watched.add(this);
    }
  }

  #deliver(data: Buffer): void {
    if (isGoodbye(data)) {
      this.close(closeReason('Normal'));
      return;
    }
    let message: Message;
    try {
      message = decodeJson(data, this.#context.jsonLimits());
    } catch (error) {
      const { close, counted } = refusalOf(error);
      this.#refuse(close, counted, isSallyportError(error) ? error : undefined);
      return;
    }
    try {
      const taken = this.#handler?.onMessage(message, data.length);
      if (taken === undefined) return;
      this.#pending++;
      this.#pendingBytes += data.length;
      taken.then(
        () => this.#settled(data.length),
        (error: unknown) => this.#failed(error),
      );
    } catch (error) {
      this.#failed(error);
    }
  }

  /** One largest message, or many small ones, may be with the handler. */
  #mayDeliver(bytes: number): boolean {
    if (this.#pending === 0) return true;
    return (
      this.#pending < this.#context.maxPendingUpstream() &&
      this.#pendingBytes + bytes <= this.#context.maxMessageBytes()
    );
  }

  #settled(bytes: number): void {
    this.#pending--;
    this.#pendingBytes -= bytes;
    while (this.#held?.[0] && !this.#reason && this.#mayDeliver(this.#held[0].length)) {
      const data = this.#held.shift()!;
      this.#heldBytes -= data.length;
      this.#deliver(data);
    }
    if (this.#held?.length === 0) this.#held = undefined;
    if (this.#held === undefined && this.#socket.isPaused) this.#socket.resume();
  }

  #failed(error: unknown): void {
    this.#context.log.error(
      { err: error, node: this.peer.nodeName },
      'a message could not be handled; its connection is closed',
    );
    this.close(closeReason('InternalError'));
  }

  #refuse(name: CloseReasonName, why: string, error?: Error): void {
    this.#context.metrics.messagesDropped.inc({ direction: 'upstream', reason: why });
    this.#context.log.debug(
      { node: this.peer.nodeName, why, ...(error ? { problem: describeError(error) } : {}) },
      'a frame was not valid; its connection is closed',
    );
    this.close(closeReason(name));
  }

  /** ws has sent the close frame already: 1009 for size, 1007 for UTF-8, else 1002 (RFC 6455 §7.4.1). */
  onProtocolError(error: Error): void {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!this.#reason && code.startsWith('WS_ERR_')) {
      const tooLarge = code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
      this.#context.metrics.messagesDropped.inc({
        direction: 'upstream',
        reason: tooLarge ? 'too-large' : 'malformed',
      });
      this.close(closeReason(tooLarge ? 'MessageTooLarge' : 'ProtocolError'));
    } else if (!this.#reason) {
      this.#socket.terminate();
    }
  }

  onPing(data: Buffer): void {
    this.#handler?.onAlive();
    if (this.#socket.bufferedAmount <= MAX_BUFFERED_FOR_PONG) this.#socket.pong(data);
  }

  /**
   * An answer to a ping of ours is the work of the peer's library: it tells the round trip, not that the node
   * lives.
   */
  onPong(data: Buffer): void {
    if (this.#pingedAt !== undefined && data.toString('latin1') === String(this.#pingedAt))
      this.#rttMs = this.#context.clock.monotonic() - this.#pingedAt;
    else this.#handler?.onAlive();
  }

  onEnd(code: number): void {
    this.#context.watched.delete(this);
    const reason = this.#reason ?? closeByEdge(code);
    this.#reason ??= closeReason('Normal');
    this.#forgetHeld();
    this.#drained?.reject(this.#closed());
    this.#drained = undefined;
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(reason);
  }

  #forgetHeld(): void {
    if (this.#held)
      this.#context.metrics.messagesDropped.inc(
        { direction: 'upstream', reason: 'connection-closed' },
        this.#held.length,
      );
    this.#held = undefined;
    this.#heldBytes = 0;
  }

  #closed(): SallyportError {
    return new SallyportError('SESSION_CLOSED', { reason: this.#reason?.name ?? 'the connection is closed' });
  }
}

/** Beyond this many buffered bytes `send` waits: the high-water mark of Node's sockets. */
const HIGH_WATER = 64 * 1024;
/**
 * A caller that does not wait for `send` can buffer so many of the largest messages, then the peer counts as
 * slow.
 */
const MAX_BUFFERED_MESSAGES = 4;

function withResolversHandled(): PromiseWithResolvers<void> {
  const resolvers = Promise.withResolvers<void>();
  // Nobody has to wait for it; a rejection without a listener would end the process.
  resolvers.promise.catch(() => {});
  return resolvers;
}

// Shared by all connections: one function each instead of closures for each one.
function onMessage(this: WebSocket, data: unknown, isBinary: boolean): void {
  (this as Owned)[CONNECTION].onFrame(data as Buffer, isBinary);
}
function onPing(this: WebSocket, data: Buffer): void {
  (this as Owned)[CONNECTION].onPing(data);
}
function onPong(this: WebSocket, data: Buffer): void {
  (this as Owned)[CONNECTION].onPong(data);
}
function onDrain(this: Duplex): void {
  (this as OwnedStream)[CONNECTION].onDrain();
}
function onError(this: WebSocket, error: Error): void {
  (this as Owned)[CONNECTION].onProtocolError(error);
}
function onClose(this: WebSocket, code: number): void {
  (this as Owned)[CONNECTION].onEnd(code);
}
