import {
  type NatsConnection as Connection,
  createInbox,
  type Msg,
  type MsgHdrs,
} from '@nats-io/transport-node';
import type { Config } from '../../config/schema.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { NatsConnection } from '../../nats/nats-connection.ts';

export interface StreamPublisherOptions {
  readonly limits: Pick<Config['bus']['nats']['limits'], 'inFlightMessages' | 'inFlightBytes'>;
  readonly requestTimeoutMs: number;
}

export interface Publication {
  /** Name of the stream, for metrics. */
  readonly stream: string;
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Holds Nats-Msg-Id: a message that is sent again must not be stored twice. */
  readonly headers: MsgHdrs;
  /** How long NATS may take, milliseconds; it is sent again meanwhile. */
  readonly patienceMs: number;
}

/** What JetStream says when it has stored a message. */
export interface PubAck {
  readonly seq: number;
  /** Stored before under the same Nats-Msg-Id. */
  readonly duplicate: boolean;
}

interface Pending extends Publication {
  readonly since: number;
  readonly resolve: (ack: PubAck) => void;
  readonly reject: (error: unknown) => void;
  /** When it was last sent; undefined while it waits for a connection. */
  sentAt: number | undefined;
}

/** How often what is unanswered is looked at, milliseconds. */
const TICK_MS = 100;
/** What JetStream refuses for now (no leader, no answer yet) is sent again after this long. */
const REFUSED_RETRY_MS = 250;
/** nats-server's `JSStreamStoreFailedF`: a limit of the stream, among others. */
const STORE_FAILED = 10077;
/** `JSStreamMessageExceedsMaximumErr` */
const TOO_LARGE = 10054;
const HEADER_ROOM = 1_024;
/** At a stop: longest wait for confirmations, and how often to look, milliseconds. */
const STOP_WAIT_MS = 2_000;
const STOP_LOOK_MS = 5;

/**
 * Publishes into JetStream and waits for its confirmation, without a timer or a subscription a message.
 * Bounded: what is not confirmed yet counts, in messages and bytes. Sends again what got no answer, after a
 * reconnect at once.
 */
export class StreamPublisher {
  readonly #connection: NatsConnection;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #onRefused: () => void;
  readonly #options: StreamPublisherOptions;
  readonly #inbox = createInbox();
  /** By the last token of the reply subject, in the order of publication. */
  readonly #pending = new Map<string, Pending>();
  readonly #off: Unsubscribe[] = [];
  #nextToken = 0;
  #bytes = 0;
  #timer: Timer | undefined;
  #problem: string | undefined;
  #stopped = false;

  constructor(
    {
      connection,
      clock,
      metrics,
      onRefused,
    }: {
      connection: NatsConnection;
      clock: Clock;
      metrics: Metrics;
      /** JetStream cannot take a message now: the stream may be gone. */
      onRefused: () => void;
    },
    options: StreamPublisherOptions,
  ) {
    this.#connection = connection;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#onRefused = onRefused;
    this.#options = options;
    this.#off.push(
      connection.onUp((nats, fresh) => {
        if (fresh) this.#listen(nats);
        for (const [token, entry] of this.#pending) this.#send(token, entry);
      }),
      connection.onDown(() => {
        for (const entry of this.#pending.values()) entry.sentAt = undefined;
      }),
    );
  }

  /** What JetStream does not do now; undefined when it confirms. */
  problem(): string | undefined {
    const oldest = this.#pending.values().next().value;
    if (!oldest || this.#clock.monotonic() - oldest.since < this.#options.requestTimeoutMs) return undefined;
    return `nats: JetStream confirms no messages${this.#problem ? `: ${this.#problem}` : ''}`;
  }

  /** Resolves once the message is stored. @throws QUEUE_FULL, BUS_UNAVAILABLE, MESSAGE_TOO_LARGE */
  publish(publication: Publication): Promise<PubAck> {
    const { stream, payload } = publication;
    const { limits } = this.#options;
    if (this.#stopped)
      return this.#refused(stream, 'stopped', 'BUS_UNAVAILABLE', { problem: 'it is stopped' });
    if (
      this.#pending.size >= limits.inFlightMessages ||
      this.#bytes + payload.length > limits.inFlightBytes + HEADER_ROOM
    )
      return this.#refused(stream, 'in-flight', 'QUEUE_FULL', { queue: 'of what NATS has not confirmed' });
    return new Promise((resolve, reject) => {
      const token = (this.#nextToken++).toString(36);
      const entry = { ...publication, since: this.#clock.monotonic(), resolve, reject, sentAt: undefined };
      this.#pending.set(token, entry);
      this.#bytes += payload.length;
      this.#timer ??= this.#clock.setInterval(() => this.#tick(), TICK_MS);
      this.#connection.atTurnEnd(() => this.#sendFirst(token));
    });
  }

  /**
   * Takes nothing more, and waits a little for what is under way: the last words of sessions that end with
   * the hub.
   */
  async stop(signal: AbortSignal): Promise<void> {
    this.#stopped = true;
    const end = this.#clock.monotonic() + STOP_WAIT_MS;
    while (
      this.#pending.size > 0 &&
      !signal.aborted &&
      this.#connection.problem() === undefined &&
      this.#clock.monotonic() < end
    )
      await this.#clock.sleep(STOP_LOOK_MS, signal).catch(() => {});
    for (const off of this.#off) off();
    for (const token of [...this.#pending.keys()])
      this.#fail(token, 'stopped', new SallyportError('BUS_UNAVAILABLE', { problem: 'it is stopped' }));
    this.#timer?.cancel();
  }

  #refused(
    stream: string,
    reason: string,
    ...error: ConstructorParameters<typeof SallyportError>
  ): Promise<never> {
    this.#metrics.busPublishFailed.inc({ stream, reason });
    return Promise.reject(new SallyportError(...error));
  }

  #listen(nats: Connection): void {
    nats.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error) this.#problem = describeError(error);
        else this.#answer(message);
      },
    });
  }

  /** Unless it went with a connection that came meanwhile, or has to wait for one. */
  #sendFirst(token: string): void {
    const entry = this.#pending.get(token);
    if (entry && entry.sentAt === undefined && this.#connection.problem() === undefined)
      this.#send(token, entry);
  }

  #send(token: string, entry: Pending): void {
    const { subject, payload, headers, stream } = entry;
    try {
      const nats = this.#connection.current();
      const limit = nats.info?.max_payload ?? Number.POSITIVE_INFINITY;
      if (payload.length + HEADER_ROOM > limit) {
        this.#fail(
          token,
          'too-large',
          new SallyportError('MESSAGE_TOO_LARGE', { limitBytes: limit - HEADER_ROOM }),
        );
        return;
      }
      nats.publish(subject, payload, { headers, reply: `${this.#inbox}.${token}` });
      entry.sentAt = this.#clock.monotonic();
    } catch (error) {
      // The connection is on its way out; the message goes with the next one.
      this.#problem = describeError(error);
      this.#metrics.busPublishFailed.inc({ stream, reason: 'send' });
    }
  }

  #answer(message: Msg): void {
    const token = message.subject.slice(message.subject.lastIndexOf('.') + 1);
    const entry = this.#pending.get(token);
    if (!entry) return;
    const reply = parseReply(message);
    if (typeof reply === 'object' && 'seq' in reply) {
      this.#problem = undefined;
      this.#finish(token, entry);
      const { stream } = entry;
      this.#metrics.busPublished.inc({ stream });
      this.#metrics.busPublishSeconds.observe({ stream }, (this.#clock.monotonic() - entry.since) / 1_000);
      entry.resolve(reply);
      return;
    }
    const { error } = reply;
    if (error.err_code === STORE_FAILED && /^maximum /.test(error.description))
      this.#fail(
        token,
        'full',
        new SallyportError('QUEUE_FULL', { queue: queueOf(entry, error.description) }),
      );
    else if (error.err_code === TOO_LARGE)
      this.#fail(
        token,
        'too-large',
        new SallyportError('MESSAGE_TOO_LARGE', { limitBytes: entry.payload.length }),
      );
    else {
      this.#problem = error.description;
      this.#onRefused();
      // Sent again before long; as if it had been sent that much earlier.
      entry.sentAt = this.#clock.monotonic() - this.#options.requestTimeoutMs + REFUSED_RETRY_MS;
    }
  }

  #tick(): void {
    const now = this.#clock.monotonic();
    for (const [token, entry] of [...this.#pending]) {
      if (now - entry.since >= entry.patienceMs) {
        const problem = this.#connection.problem() ?? this.#problem ?? 'nats: JetStream does not answer';
        this.#fail(token, 'unavailable', new SallyportError('BUS_UNAVAILABLE', { problem }));
      } else if (
        this.#connection.problem() === undefined &&
        (entry.sentAt === undefined || now - entry.sentAt >= this.#options.requestTimeoutMs)
      ) {
        this.#send(token, entry);
      }
    }
    this.#metrics.busInFlight.set(this.#pending.size);
    this.#metrics.busInFlightBytes.set(this.#bytes);
    if (this.#pending.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #fail(token: string, reason: string, error: SallyportError): void {
    const entry = this.#pending.get(token)!;
    this.#finish(token, entry);
    this.#metrics.busPublishFailed.inc({ stream: entry.stream, reason });
    entry.reject(error);
  }

  #finish(token: string, entry: Pending): void {
    this.#pending.delete(token);
    this.#bytes -= entry.payload.length;
  }
}

type Reply = PubAck | { readonly error: { readonly err_code: number; readonly description: string } };

function parseReply(message: Msg): Reply {
  if (message.headers?.code === 503)
    return { error: { err_code: 503, description: 'no server answers for the stream' } };
  try {
    const body = message.json<{
      seq?: number;
      duplicate?: boolean;
      error?: { err_code?: number; description?: string };
    }>();
    if (!body.error && body.seq !== undefined) return { seq: body.seq, duplicate: body.duplicate === true };
    return {
      error: {
        err_code: body.error?.err_code ?? 0,
        description: body.error?.description ?? 'no confirmation',
      },
    };
  } catch {
    return { error: { err_code: 0, description: 'an answer that is no JSON' } };
  }
}

function queueOf({ stream }: Pending, description: string): string {
  return description.includes('per subject') ? 'of this node' : `of stream ${stream}`;
}
