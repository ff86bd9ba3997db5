import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type {
  ConnectionStats,
  EdgeConnection,
  EdgeConnectionHandler,
} from '../../contracts/edge-connection.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { KeyExchange } from '../../core/tls-groups.ts';
import type { NodeIdentity } from '../../identity/node-identity.ts';
import {
  type CloseReason,
  type CloseReasonName,
  closeByEdge,
  closeReason,
  closeText,
  refusalOf,
} from '../../protocol/close-reasons.ts';
import { decodeJson, decodeJsonInTurns, encodeJson, isGoodbye } from '../../protocol/codec-json.ts';
import type { Message } from '../../protocol/message.ts';
import { SHARE_BYTES } from '../../protocol/scan-in-turns.ts';
import { type IntakeOwner, UpstreamIntake } from '../upstream-intake.ts';
import { WebSocketWriter, type WriterContext, type WriterOwner } from './websocket-writer.ts';

/** What connections share: one object a listener, so that a connection holds a single reference. */
export interface ConnectionContext extends WriterContext {
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Connections the sweep has to look at: writing, paused or closing. All others cost it nothing. */
  readonly watched: Set<WebSocketConnection>;
  /** It is gone. */
  ended(connection: WebSocketConnection): void;
}

export interface ConnectionFacts {
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  readonly projectId: string;
  readonly agent: string | undefined;
  readonly keyExchange: KeyExchange | undefined;
}

/** How long a peer may take to answer a close frame before its socket is destroyed. */
const CLOSE_DEADLINE_MS = 2_000;
/**
 * Beyond this a peer that does not read gets no pongs either: it could not see them, and they would pile up.
 */
const MAX_BUFFERED_FOR_PONG = 64 * 1024;
const DONE = Promise.resolve();
const CONNECTION = Symbol('connection');
type Owned = WebSocket & { [CONNECTION]: WebSocketConnection };
type OwnedStream = Duplex & { [CONNECTION]: WebSocketConnection };

/**
 * One edge on WebSocket. Text frames are messages, one each. While its intake is full the socket is paused; a
 * write deadline still ends a peer that is gone.
 */
export class WebSocketConnection implements EdgeConnection, IntakeOwner, WriterOwner {
  readonly transport = 'websocket';
  readonly agent?: string;
  readonly #context: ConnectionContext;
  readonly #facts: ConnectionFacts;
  readonly #socket: WebSocket;
  readonly #intake: UpstreamIntake;
  readonly #writer: WebSocketWriter;
  #handler: EdgeConnectionHandler | undefined;
  #reason: CloseReason | undefined;
  #closeDeadline = 0;
  #bytesReceived = 0;
  /** When the last ping of ours went out, milliseconds since the epoch; 0 before the first. */
  #pingedAt: number | undefined;
  #rttMs: number | undefined;
  /** Settled by the next pong. */
  #there: PromiseWithResolvers<void> | undefined;

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
    this.#intake = new UpstreamIntake(this, context.options);
    this.#writer = new WebSocketWriter(ends, context, this);
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
  get keyExchange(): KeyExchange | undefined {
    return this.#facts.keyExchange;
  }

  stats(): ConnectionStats {
    return {
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#writer.bytesSent,
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

  whenThere(): Promise<void> {
    this.#there ??= Promise.withResolvers<void>();
    this.ping(this.#context.clock.monotonic(), 0);
    return this.#there.promise;
  }

  receive(handler: EdgeConnectionHandler): void {
    this.#handler = handler;
    this.#intake.receive(handler);
  }

  send(message: Message): Promise<void> {
    if (this.#reason || this.#socket.readyState !== this.#socket.OPEN) return Promise.reject(this.closed());
    return this.#writer.write(encodeJson(message)) ?? DONE;
  }

  sendJson(bytes: Uint8Array): void | Promise<void> {
    if (this.#reason || this.#socket.readyState !== this.#socket.OPEN) return Promise.reject(this.closed());
    return this.#writer.write(bytes);
  }

  close(reason: CloseReason): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#closeDeadline = this.#context.clock.monotonic() + CLOSE_DEADLINE_MS;
    this.#context.watched.add(this);
    this.#endIntake();
    this.#socket.close(reason.code, closeText(reason));
    // The peer's close frame has to be read, and whatever is before it is thrown away.
    if (this.#socket.isPaused) this.#socket.resume();
    this.#writer.end();
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
    this.#intake.sweep();
    return this.#writer.sweep(now) || this.#socket.isPaused || this.#closeDeadline !== 0;
  }

  /** A peer that does not read will not read a close frame either. */
  onSlow(): void {
    this.close(closeReason('SlowConsumer'));
    this.#socket.terminate();
  }

  onWriting(): void {
    this.#context.watched.add(this);
  }

  onDrain(): void {
    this.#writer.onDrain();
  }

  onFrame(data: Buffer, isBinary: boolean): void {
    if (this.#reason) return;
    this.#bytesReceived += data.length;
    if (isBinary) this.#refuse('UnsupportedData', 'binary-frame');
    else this.#intake.take(data);
  }

  decode(data: Uint8Array): Message | undefined | Promise<Message> {
    if (isGoodbye(data)) {
      this.close(closeReason('Normal'));
      return undefined;
    }
    const limits = this.#context.options();
    return data.length > SHARE_BYTES ? decodeJsonInTurns(data, limits) : decodeJson(data, limits);
  }

  onBroken(error: unknown): void {
    const { close, counted } = refusalOf(error);
    this.#refuse(close, counted, isSallyportError(error) ? error : undefined);
  }

  onBacklog(_bytes: number, isFull: boolean): void {
    if (isFull === this.#socket.isPaused) return;
    if (isFull) {
      this.#socket.pause();
      this.#context.watched.add(this);
    } else this.#socket.resume();
  }

  onFailed(error: unknown): void {
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
    this.#there?.resolve();
    this.#there = undefined;
    if (this.#pingedAt !== undefined && data.toString('latin1') === String(this.#pingedAt))
      this.#rttMs = this.#context.clock.monotonic() - this.#pingedAt;
    else this.#handler?.onAlive();
  }

  onEnd(code: number): void {
    this.#context.watched.delete(this);
    this.#context.ended(this);
    const reason = this.#reason ?? closeByEdge(code);
    this.#reason ??= closeReason('Normal');
    this.#endIntake();
    this.#writer.end();
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(reason);
  }

  #endIntake(): void {
    const lost = this.#intake.end();
    const labels = { direction: 'upstream', reason: 'connection-closed' };
    if (lost > 0) this.#context.metrics.messagesDropped.inc(labels, lost);
  }

  closed(): SallyportError {
    return new SallyportError('SESSION_CLOSED', { reason: this.#reason?.name ?? 'the connection is closed' });
  }
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
