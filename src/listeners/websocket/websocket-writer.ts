import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { batchWrites } from '../../core/batch-writes.ts';
import type { Clock } from '../../core/clock.ts';
import type { SallyportError } from '../../core/errors.ts';
import type { WebSocketListenerOptions } from './options.ts';
import { textFrame } from './text-frame.ts';

/** The connection, as its writing half sees it. */
export interface WriterOwner {
  /** The peer takes nothing in time, or far too much waits for it: the connection is to be given up. */
  onSlow(): void;
  /** Something waits from now on: {@link WebSocketWriter.sweep} has to be called. */
  onWriting(): void;
  /** What a sender is told whose bytes no longer go out. */
  closed(): SallyportError;
}

export interface WriterContext {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly options: () => WebSocketListenerOptions;
}

const TEXT = { binary: false } as const;
/** Beyond this many buffered bytes `write` waits: the high-water mark of Node's sockets. */
const HIGH_WATER = 64 * 1024;
/**
 * A caller that does not wait for `write` can buffer so many of the largest messages, then the peer counts as
 * slow.
 */
const MAX_BUFFERED_MESSAGES = 4;

/** The writing half of one connection: holds senders back, and notices a peer that takes nothing. */
export class WebSocketWriter {
  bytesSent = 0;
  readonly #socket: WebSocket;
  /** Under the WebSocket. */
  readonly #stream: Duplex;
  readonly #context: WriterContext;
  readonly #owner: WriterOwner;
  /** By then the peer must have taken the first `#goal` bytes; 0 when nothing is awaited. */
  #deadline = 0;
  #goal = 0;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(
    { socket, stream }: { readonly socket: WebSocket; readonly stream: Duplex },
    context: WriterContext,
    owner: WriterOwner,
  ) {
    this.#socket = socket;
    this.#stream = stream;
    this.#context = context;
    this.#owner = owner;
  }

  /** A promise means: the peer takes no more until it settles. It rejects when the connection ends. */
  write(bytes: Uint8Array): undefined | Promise<void> {
    this.bytesSent += bytes.length;
    batchWrites(this.#stream);
    const frame = textFrame(bytes);
    if (frame) this.#stream.write(frame);
    else this.#socket.send(bytes, TEXT);
    const buffered = this.#socket.bufferedAmount;
    if (buffered === 0) return undefined;
    if (this.#deadline === 0) this.#expect();
    if (buffered <= HIGH_WATER) return undefined;
    if (buffered > MAX_BUFFERED_MESSAGES * this.#context.options().maxMessageBytes) {
      this.#owner.onSlow();
      return Promise.reject(this.#owner.closed());
    }
    this.#drained ??= withResolversHandled();
    return this.#drained.promise;
  }

  onDrain(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  /** The connection has ended. */
  end(): void {
    this.#drained?.reject(this.#owner.closed());
    this.#drained = undefined;
  }

  /** Looks at the deadline. @returns false when nothing is awaited */
  sweep(now: number): boolean {
    if (this.#deadline === 0) return false;
    const buffered = this.#socket.bufferedAmount;
    if (buffered === 0) this.#deadline = 0;
    else if (this.bytesSent - buffered >= this.#goal) this.#expect();
    else if (now >= this.#deadline) this.#owner.onSlow();
    if (buffered <= HIGH_WATER) this.onDrain();
    return this.#deadline !== 0;
  }

  #expect(): void {
    this.#deadline = this.#context.clock.monotonic() + this.#context.options().limits.writeTimeoutMs;
    // Frame headers are not counted in `bytesSent`, only in what is buffered: the goal errs on the side of
    // the peer.
    this.#goal = this.bytesSent - this.#socket.bufferedAmount + 1;
    this.#owner.onWriting();
  }
}

function withResolversHandled(): PromiseWithResolvers<void> {
  const resolvers = Promise.withResolvers<void>();
  // Nobody has to wait for it; a rejection without a listener would end the process.
  resolvers.promise.catch(() => {});
  return resolvers;
}
