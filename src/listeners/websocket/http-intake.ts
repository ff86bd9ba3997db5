import type { TLSSocket } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { type HttpAnswer, rawAnswer } from './http-answer.ts';
import { type BadHead, type RequestHead, readRequestHead } from './request-head.ts';

/** How long a refused peer may take to read why. Its frames go nowhere meanwhile. */
const LINGER_MS = 1_000;
const LATE: HttpAnswer = {
  status: 408,
  reason: 'timeout',
  detail: 'the request was not complete in time',
};

/** A socket whose request is not complete. */
interface Waiting {
  /** Milliseconds on the monotonic clock. */
  readonly until: number;
  /** Undefined before the first. */
  bytes?: Buffer | undefined;
}

export interface HttpIntakeEvents {
  /** A whole request, and what came behind it. */
  onRequest(socket: TLSSocket, head: RequestHead, rest: Buffer): void;
  /** It gets `answer` and is closed. */
  onBroken(socket: TLSSocket, answer: HttpAnswer): void;
  /** The last of those that were waited for is gone. */
  onIdle(): void;
}

/**
 * HTTP/1.1 as far as an upgrade needs it: one request a connection, and one answer unless it becomes a
 * session. Node's own server would keep a parser, a timer and several objects for each of them.
 */
export class HttpIntake {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #events: HttpIntakeEvents;
  /** Oldest first. */
  readonly #waiting = new Map<TLSSocket, Waiting>();
  /** Refused sockets that may still read their answer → when they are destroyed. */
  readonly #lingering = new Map<TLSSocket, number>();
  // One listener for all sockets; `this` is the socket.
  readonly #onData: (this: TLSSocket, chunk: Buffer) => void;
  readonly #onClose: (this: TLSSocket) => void;

  constructor(clock: Pick<Clock, 'monotonic'>, events: HttpIntakeEvents) {
    this.#clock = clock;
    this.#events = events;
    const take = (socket: TLSSocket, chunk: Buffer) => this.#take(socket, chunk);
    const forget = (socket: TLSSocket) => this.#forget(socket);
    this.#onData = function (chunk) {
      take(this, chunk);
    };
    this.#onClose = function () {
      forget(this);
    };
  }

  /** Sockets that are not answered yet, or still read their answer. */
  get size(): number {
    return this.#waiting.size + this.#lingering.size;
  }

  /** @param timeoutMs in which the whole request has to come (requirement I2) */
  read(socket: TLSSocket, timeoutMs: number): void {
    this.#waiting.set(socket, { until: this.#clock.monotonic() + timeoutMs });
    socket.on('error', ignore).on('close', this.#onClose).on('data', this.#onData);
  }

  /** Answers and closes. What the peer sends from now on is thrown away unread (requirement G2). */
  end(socket: TLSSocket, answer: HttpAnswer): void {
    socket.removeAllListeners('data');
    socket.resume();
    socket.end(rawAnswer(answer));
    this.#lingering.set(socket, this.#clock.monotonic() + LINGER_MS);
    socket.on('close', this.#onClose);
  }

  /** Looks at deadlines. */
  sweep(now: number): void {
    for (const [socket, { until }] of this.#waiting) {
      if (now < until) break;
      this.#release(socket);
      this.#events.onBroken(socket, LATE);
    }
    for (const [socket, until] of this.#lingering) {
      if (now < until) break;
      socket.destroy();
      this.#forget(socket);
    }
  }

  destroyAll(): void {
    for (const sockets of [this.#waiting, this.#lingering])
      for (const socket of sockets.keys()) socket.destroy();
  }

  #take(socket: TLSSocket, chunk: Buffer): void {
    const waiting = this.#waiting.get(socket);
    if (!waiting) return;
    const bytes = waiting.bytes ? Buffer.concat([waiting.bytes, chunk]) : chunk;
    const head = readRequestHead(bytes);
    if (!head) {
      waiting.bytes = bytes;
      return;
    }
    this.#release(socket);
    if (head.ok) this.#events.onRequest(socket, head, bytes.subarray(head.bytes));
    else this.#events.onBroken(socket, answerTo(head));
  }

  #release(socket: TLSSocket): void {
    this.#waiting.delete(socket);
    socket.off('data', this.#onData).off('close', this.#onClose);
  }

  #forget(socket: TLSSocket): void {
    this.#waiting.delete(socket);
    this.#lingering.delete(socket);
    if (this.size === 0) this.#events.onIdle();
  }
}

function answerTo({ status, detail }: BadHead): HttpAnswer {
  return { status, reason: 'protocol', detail };
}

/** A socket without an `error` listener would end the process. */
function ignore(): void {}
