import {
  type NatsConnection as Connection,
  createInbox,
  type Msg,
  type Subscription,
} from '@nats-io/transport-node';
import type { ReplicaInfo } from '../contracts/node-ownership.ts';
import type { AskOptions, QuestionName, ReplicaCalls } from '../contracts/replica-calls.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Unsubscribe } from '../core/property.ts';
import type { NatsConnection } from '../nats/nats-connection.ts';

/** Size from which on a part is sent; NATS takes 1 MiB by default. */
const PART_BYTES = 128 * 1024;
/** Status of NATS for a subject nobody listens to. */
const NO_RESPONDERS = 503;

type Answer = Parameters<ReplicaCalls['serve']>[1];

/** One part of an answer. The last one says so, and how many there were, so that a lost one is noticed. */
interface Part {
  readonly items: readonly unknown[];
  readonly last?: number;
  readonly problem?: string;
}

/**
 * Questions between replicas over plain NATS: subject `<prefix>.int.<run>.<question>`, answered in parts.
 * Internal: no interface for others.
 */
export class NatsCalls implements ReplicaCalls, Component {
  readonly name = 'replica-calls';
  readonly #connection: NatsConnection;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #options: { readonly prefix: string; readonly run: string; readonly timeoutMs: number };
  readonly #answers = new Map<string, Answer>();
  #off: Unsubscribe | undefined;
  #subscription: Subscription | undefined;

  /** @param options.timeoutMs longest silence while an answer is awaited */
  constructor(
    { connection, clock, log }: { connection: NatsConnection; clock: Clock; log: Logger },
    options: { readonly prefix: string; readonly run: string; readonly timeoutMs: number },
  ) {
    this.#connection = connection;
    this.#clock = clock;
    this.#log = log;
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#off = this.#connection.onUp((connection, fresh) => {
      if (fresh) this.#listen(connection);
    });
    if (this.#connection.problem() === undefined) this.#listen(this.#connection.current());
  }

  async stop(): Promise<void> {
    this.#off?.();
    this.#subscription?.unsubscribe();
  }

  serve(question: QuestionName, answer: Answer): void {
    this.#answers.set(question, answer);
  }

  ask(
    { replica, run }: ReplicaInfo,
    question: QuestionName,
    payload: unknown = {},
    { timeoutMs = this.#options.timeoutMs, signal }: AskOptions = {},
  ): Promise<unknown[]> {
    const connection = this.#connection.current();
    const inbox = createInbox();
    return new Promise((resolve, reject) => {
      const items: unknown[] = [];
      let parts = 0;
      const finish = () => {
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
        subscription.unsubscribe();
      };
      const fail = (problem: string) => {
        finish();
        reject(new SallyportError('REPLICA_UNREACHABLE', { replica, problem }));
      };
      const onAbort = () => {
        finish();
        reject(signal!.reason);
      };
      const wait = () => this.#clock.setTimeout(() => fail(`nothing came for ${timeoutMs} ms`), timeoutMs);
      let timer = wait();
      const subscription = connection.subscribe(inbox, {
        callback: (error, message) => {
          if (error) return fail(describeError(error));
          if (message.headers?.code === NO_RESPONDERS) return fail('it does not listen');
          const part = readPart(message);
          if (!part) return fail('its answer cannot be read');
          if (part.problem !== undefined) return fail(part.problem);
          items.push(...part.items);
          parts++;
          timer.cancel();
          timer = wait();
          if (part.last === undefined) return;
          if (part.last !== parts) return fail('a part of its answer was lost');
          finish();
          resolve(items);
        },
      });
      if (signal?.aborted) return onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
      connection.publish(`${this.#options.prefix}.int.${run}.${question}`, JSON.stringify(payload), {
        reply: inbox,
      });
    });
  }

  #listen(connection: Connection): void {
    const { prefix, run } = this.#options;
    const subject = `${prefix}.int.${run}.`;
    this.#subscription = connection.subscribe(`${subject}>`, {
      callback: (error, message) => {
        if (!error && message.reply)
          void this.#answer(connection, message, message.subject.slice(subject.length));
      },
    });
  }

  async #answer(connection: Connection, message: Msg, question: string): Promise<void> {
    const send = (part: Part) => connection.publish(message.reply!, JSON.stringify(part));
    try {
      const answer = this.#answers.get(question);
      if (!answer) return send({ items: [], problem: 'it does not know this question' });
      let parts = 0;
      let texts: unknown[] = [];
      let bytes = 0;
      for (const item of await answer(message.json())) {
        texts.push(item);
        bytes += JSON.stringify(item ?? null).length;
        if (bytes < PART_BYTES) continue;
        send({ items: texts });
        parts++;
        [texts, bytes] = [[], 0];
        // Not faster than NATS takes it, and other work comes in between.
        await connection.flush();
      }
      send({ items: texts, last: parts + 1 });
    } catch (error) {
      this.#log.debug({ question, problem: describeError(error) }, 'a question of another replica failed');
      if (!connection.isClosed()) send({ items: [], problem: describeError(error) });
    }
  }
}

function readPart(message: Msg): Part | undefined {
  try {
    const part = message.json<Partial<Part>>();
    return Array.isArray(part.items) ? (part as Part) : undefined;
  } catch {
    return undefined;
  }
}
