import { type NatsConnection as Connection, createInbox, type Msg } from '@nats-io/transport-node';
import type { Clock, Timer } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { NatsConnection } from '../../nats/nats-connection.ts';

export interface MessageDeleterOptions {
  readonly stream: string;
  readonly requestTimeoutMs: number;
}

interface Pending {
  readonly since: number;
  readonly resolve: () => void;
  readonly reject: (error: SallyportError) => void;
}

/** How often what is unanswered is looked at, milliseconds. */
const TICK_MS = 250;

/**
 * Takes messages out of a stream, one request each. Every delivered message costs one, so there is no timer
 * and no subscription a request, which a request of the client library has, with an error made in advance:
 * those cost a replica more than the request itself.
 */
export class MessageDeleter {
  readonly #connection: NatsConnection;
  readonly #clock: Clock;
  readonly #subject: string;
  readonly #timeoutMs: number;
  readonly #inbox = createInbox();
  /** By the last token of the reply subject, oldest first. */
  readonly #pending = new Map<string, Pending>();
  readonly #off: Unsubscribe[];
  #nextToken = 0;
  #timer: Timer | undefined;

  constructor(
    { connection, clock }: { connection: NatsConnection; clock: Clock },
    { stream, requestTimeoutMs }: MessageDeleterOptions,
  ) {
    this.#connection = connection;
    this.#clock = clock;
    this.#subject = `$JS.API.STREAM.MSG.DELETE.${stream}`;
    this.#timeoutMs = requestTimeoutMs;
    this.#off = [
      connection.onUp((nats, fresh) => {
        if (fresh) this.#listen(nats);
      }),
      connection.onDown(() => this.#failUntil(Number.POSITIVE_INFINITY, 'the connection was lost')),
    ];
  }

  /**
   * One that is gone already, replaced or too old, is no error. @throws BUS_UNAVAILABLE when nobody can say
   * that it is gone
   */
  async remove(seq: number): Promise<void> {
    const nats = this.#connection.current();
    const token = (this.#nextToken++).toString(36);
    const answered = new Promise<void>((resolve, reject) => {
      this.#pending.set(token, { since: this.#clock.monotonic(), resolve, reject });
    });
    this.#timer ??= this.#clock.setInterval(() => this.#tick(), TICK_MS);
    try {
      // Without erasing: overwriting what was deleted costs the server five times as much.
      nats.publish(this.#subject, `{"seq":${seq},"no_erase":true}`, { reply: `${this.#inbox}.${token}` });
    } catch (cause) {
      this.#pending.delete(token);
      throw new SallyportError('BUS_UNAVAILABLE', { problem: 'the connection is closing' }, cause);
    }
    return answered;
  }

  stop(): void {
    for (const off of this.#off) off();
    this.#failUntil(Number.POSITIVE_INFINITY, 'it is stopped');
    this.#timer?.cancel();
  }

  #listen(nats: Connection): void {
    nats.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (!error) this.#answer(message);
      },
    });
  }

  #answer(message: Msg): void {
    const token = message.subject.slice(message.subject.lastIndexOf('.') + 1);
    const entry = this.#pending.get(token);
    if (!entry) return;
    this.#pending.delete(token);
    const problem = problemIn(message);
    if (problem === undefined) entry.resolve();
    else entry.reject(new SallyportError('BUS_UNAVAILABLE', { problem }));
  }

  #tick(): void {
    this.#failUntil(this.#clock.monotonic() - this.#timeoutMs, 'JetStream does not answer');
    if (this.#pending.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** @param since requests made then or earlier */
  #failUntil(since: number, problem: string): void {
    for (const [token, entry] of this.#pending) {
      if (entry.since > since) return;
      this.#pending.delete(token);
      entry.reject(new SallyportError('BUS_UNAVAILABLE', { problem: `nats: ${problem}` }));
    }
  }
}

/**
 * JetStream's API answers `{"success":true}` or `{"error":{"code":…,"description":…}}`; a status of 503 means
 * that nobody is there to answer.
 */
function problemIn(message: Msg): string | undefined {
  if (message.headers?.code === 503) return 'nats: nobody answers for the stream';
  try {
    const { success, error } = message.json<{
      success?: boolean;
      error?: { code?: number; description?: string };
    }>();
    // Any other error is about the message: it is not there.
    if (success || (error?.code !== undefined && error.code !== 503)) return undefined;
    return `nats: ${error?.description ?? 'an answer that says nothing'}`;
  } catch {
    return 'nats: an answer that is no JSON';
  }
}
