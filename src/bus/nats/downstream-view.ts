import type { NatsConnection as Connection, Msg, Subscription } from '@nats-io/transport-node';
import type { MessageOf, SentMessage } from '../../contracts/message-bus.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { NatsConnection } from '../../nats/nats-connection.ts';
import { decodeSent, encodeSent } from './nats-messages.ts';
import type { Subjects } from './subjects.ts';

/** How often a replica says for which nodes somebody follows there, milliseconds. */
const SAY_MS = 2_000;
/** How long that holds, milliseconds: two of them may be lost. */
const HOLDS_MS = 3 * SAY_MS;

interface Watcher {
  /** Undefined stands for every node. */
  readonly nodes: ReadonlySet<string> | undefined;
  /** Milliseconds on the monotonic clock. */
  readonly until: number;
}

interface ViewParts {
  readonly connection: NatsConnection;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly subjects: Subjects;
  /** Tells this process from others. */
  readonly instance: string;
  /** The nodes that are followed here; undefined among them stands for every node. */
  readonly watched: () => readonly (string | undefined)[];
  readonly show: (event: MessageOf<'downstream'>) => void;
  /** Something may have gone by unseen. */
  readonly missed: () => void;
}

/**
 * What goes to nodes, shown at each replica where somebody follows it. Such a replica says so again and
 * again; the others then publish what goes to the nodes it named, and nothing is stored. While nobody
 * follows, nothing is said, published or made.
 */
export class DownstreamView {
  readonly #parts: ViewParts;
  readonly #watchers = new Map<string, Watcher>();
  readonly #off: Unsubscribe[];
  #saying: Timer | undefined;
  #hearing: Subscription | undefined;

  constructor(parts: ViewParts) {
    this.#parts = parts;
    const { connection } = parts;
    this.#off = [
      connection.onUp((nats, fresh) => this.#up(nats, fresh)),
      // Whoever watched cannot be told; whether he still does, he says when the connection is back.
      connection.onDown(() => this.#watchers.clear()),
    ];
  }

  isWatched(node: string): boolean {
    if (this.#watchers.size === 0) return false;
    const now = this.#parts.clock.monotonic();
    for (const [who, { nodes, until }] of this.#watchers) {
      if (until <= now) this.#watchers.delete(who);
      else if (nodes?.has(node) ?? true) return true;
    }
    return false;
  }

  /** To this replica's own followers too: one way for all. */
  publish(sent: SentMessage): void {
    const { connection, subjects, metrics } = this.#parts;
    try {
      const { subject, payload, headers } = encodeSent(subjects, sent);
      connection.current().publish(subject, payload, { headers });
    } catch {
      // NATS is away, or takes nothing so large.
      metrics.busPublishFailed.inc({ stream: 'sent', reason: 'unavailable' });
    }
  }

  /** Somebody follows now, or no longer. */
  changed(): void {
    const isWatching = this.#parts.watched().length > 0;
    if (!isWatching && !this.#saying) return;
    this.#say();
    if (isWatching) {
      this.#saying ??= this.#parts.clock.setInterval(() => this.changed(), SAY_MS);
      this.#hear();
    } else this.#rest();
  }

  stop(): void {
    for (const off of this.#off) off();
    this.#rest();
    this.#watchers.clear();
  }

  #rest(): void {
    this.#saying?.cancel();
    this.#saying = undefined;
    this.#hearing?.unsubscribe();
    this.#hearing = undefined;
  }

  #up(nats: Connection, fresh: boolean): void {
    const { subjects } = this.#parts;
    if (fresh) {
      this.#hearing = undefined;
      nats.subscribe(subjects.watch(), {
        callback: (error, message) => {
          if (!error) this.#learn(message);
        },
      });
    }
    if (!this.#saying) return;
    this.#parts.missed();
    this.changed();
  }

  #hear(): void {
    const { connection, subjects, show } = this.#parts;
    if (this.#hearing || connection.problem() !== undefined) return;
    this.#hearing = connection.current().subscribe(subjects.sent(), {
      callback: (error, message) => {
        const event = error ? undefined : decodeSent(subjects, message);
        if (event) show(event);
      },
    });
  }

  #say(): void {
    const { connection, subjects, instance, watched } = this.#parts;
    if (connection.problem() !== undefined) return;
    const nodes = watched();
    const news = { who: instance, nodes: nodes.includes(undefined) ? 'all' : [...new Set(nodes)] };
    connection.current().publish(subjects.watch(), JSON.stringify(news));
  }

  #learn(message: Msg): void {
    const news = readNews(message);
    if (!news) return;
    const { who, nodes } = news;
    this.#watchers.delete(who);
    if (nodes?.length === 0) return;
    const until = this.#parts.clock.monotonic() + HOLDS_MS;
    this.#watchers.set(who, { nodes: nodes && new Set(nodes), until });
  }
}

function readNews(message: Msg): { readonly who: string; readonly nodes?: readonly string[] } | undefined {
  try {
    const { who, nodes } = message.json<{ who?: unknown; nodes?: unknown }>();
    if (typeof who !== 'string') return undefined;
    if (nodes === 'all') return { who };
    return Array.isArray(nodes) ? { who, nodes } : undefined;
  } catch {
    return undefined;
  }
}
