import type { ServerResponse } from 'node:http';
import type { EventFilter, HeardEvent, MessageBus, Missed, Subscription } from '../contracts/message-bus.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { SECURITY_HEADERS } from '../core/http-errors.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { exactJson } from '../protocol/content.ts';
import type { AdminOptions } from './options.ts';

export interface EventStreamComponents {
  readonly bus: Pick<MessageBus, 'subscribe'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'followersCutOff'>;
}

export interface FollowRequest {
  readonly filter: EventFilter;
  /** Id of the last event the follower has; what came after it and is still buffered is sent first. */
  readonly afterId?: string;
  readonly response: ServerResponse;
  /**
   * Asked at each heartbeat: whether the follower may still follow (its certificate may expire or lose its
   * CA, its token be revoked).
   */
  readonly isAllowed: () => boolean | Promise<boolean>;
}

/**
 * Live events as Server-Sent Events (WHATWG HTML §9.2). A follower that reads too slowly is cut off after
 * what it was already given: it comes back with `Last-Event-ID` and goes on there, and the hub never holds
 * more than the limit for it. When what it lacks is not kept any more it is told so first.
 */
export class EventStreams {
  readonly #components: EventStreamComponents;
  readonly #options: AdminOptions;
  readonly #open = new Set<Follower>();

  constructor(components: EventStreamComponents, options: AdminOptions) {
    this.#components = components;
    this.#options = options;
  }

  /** Followers now. */
  get size(): number {
    return this.#open.size;
  }

  /**
   * Begins the answer; it ends when the follower goes, is cut off, or {@link endAll} is called. @throws
   * QUEUE_FULL
   */
  follow({ filter, afterId, response, isAllowed }: FollowRequest): void {
    const { bus, clock, log, metrics } = this.#components;
    const { maxFollowers, followerBufferBytes, followerFlushMs, heartbeatMs } = this.#options;
    if (this.#open.size >= maxFollowers) throw new SallyportError('QUEUE_FULL', { queue: 'admin followers' });

    response.writeHead(200, {
      ...SECURITY_HEADERS,
      'content-type': 'text/event-stream; charset=utf-8',
      // Nobody waits for another request on a connection that may have been open for days.
      connection: 'close',
      // Balancers of the nginx kind would hold the stream back.
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();

    let ended = false;
    let subscription: Subscription | undefined;
    const end = (why: string) => {
      if (ended) return;
      ended = true;
      subscription?.end();
      heartbeat.cancel();
      this.#open.delete(follower);
      if (response.destroyed) return;
      response.end(`: ended, ${why}\n\n`);
      const flush = clock.setTimeout(() => response.destroy(), followerFlushMs);
      response.once('close', () => flush.cancel());
    };
    const write = (text: string | Buffer) => {
      if (ended) return;
      response.write(text);
      if (response.writableLength <= followerBufferBytes) return;
      metrics.followersCutOff.inc();
      log.warn({ bufferBytes: followerBufferBytes }, 'a follower of events was too slow and is cut off');
      end('too slow');
    };
    const recheck = async () => {
      const isStillAllowed = await Promise.resolve(isAllowed()).catch(() => false);
      if (!isStillAllowed) end('not allowed any longer');
    };
    const heartbeat = clock.setInterval(() => {
      void recheck();
      write(sign('alive', subscription?.position()));
    }, heartbeatMs);
    const follower = { end, recheck };
    this.#open.add(follower);
    response.once('close', () => end('gone'));
    // A bus replays the buffered events inside `subscribe`, and one of them may already be too much.
    subscription = bus.subscribe(filter, (event) => write(formatEvent(event)), {
      ...(afterId ? { afterId } : {}),
      onMissed: (missed) => write(formatMissed(missed)),
    });
    if (ended) subscription.end();
    write(sign('following', subscription.position()));
  }

  /** Ends the streams of those who would not be let in now, after a change of trust. */
  recheck(): void {
    for (const follower of [...this.#open]) void follower.recheck();
  }

  endAll(why: string): void {
    for (const follower of [...this.#open]) follower.end(why);
  }
}

interface Follower {
  end(why: string): void;
  recheck(): Promise<void>;
}

/**
 * `id` of what is kept, `event` and one line of JSON. Content is as it came, but for line breaks: in JSON
 * they stand only between values, and become spaces.
 */
function formatEvent({ id, event }: HeardEvent): Buffer {
  const data = exactJson(event);
  for (const lineBreak of [NEWLINE, RETURN])
    for (let at = data.indexOf(lineBreak); at >= 0; at = data.indexOf(lineBreak, at + 1)) data[at] = SPACE;
  const head = `${id === undefined ? '' : `id: ${id}\n`}event: ${event.type}\ndata: `;
  return Buffer.concat([Buffer.from(head), data, END]);
}

/**
 * What was not kept until this follower could have it. Without an id: whoever goes before the next event is
 * told again when it returns.
 */
const formatMissed = (missed: Missed) =>
  `event: missed\ndata: ${JSON.stringify({ type: 'missed', ...missed })}\n\n`;

/**
 * A comment, with the id to go on after (an id alone is no event, WHATWG HTML §9.2.6): who filters much has
 * heard of nothing for long, and would be told of a gap that is none.
 */
const sign = (comment: string, id: string | undefined) =>
  `: ${comment}\n${id === undefined ? '' : `id: ${id}\n`}\n`;

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const END = Buffer.from('\n\n');
