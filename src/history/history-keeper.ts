import { randomBytes } from 'node:crypto';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, isSallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { HistoryShards } from './history-shards.ts';
import { heldOpen, type KnownNode, mergeKnown, SHORTEST_ABSENCE_MS } from './known-node.ts';
import { type LostNodes, MAX_HISTORY_BYTES } from './node-history-codec.ts';

export interface HistoryKeeperComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'nodeHistoryDropped' | 'nodeHistoryUsable' | 'nodeHistoryLastWrite'>;
  /** A Secret cannot be read and is begun anew. */
  readonly onDamaged: (secret: string, problem: string) => void;
  /** Called before a write: notes those that are connected here and concern it. */
  readonly noteSessions: (concerns: (node: string) => boolean) => void;
  readonly hasSessions: () => boolean;
}

export interface HistoryKeeperOptions {
  /** Name of the first Secret; read once. */
  readonly secret: string;
  /** How many further Secrets there may be, `<secret>-1` and so on; read once. */
  readonly maxShards: number;
  /** Days after its end in which a certificate may be renewed once. */
  readonly graceDays: number;
  /** Days that a certificate of a node lasts. */
  readonly edgeDays: number;
  /** Bytes of a full Secret. */
  readonly maxBytes?: number;
  /** Bytes that one turn reads and writes, at least one Secret. */
  readonly turnBytes?: number;
}

/**
 * That the sessions which are stored as open still are is stored this often; shorter than the absences that
 * are kept, milliseconds.
 */
const REFRESH_MS = SHORTEST_ABSENCE_MS / 2;
/**
 * With 100,000 nodes in 16 Secrets of 470 KB these are two writes or four reads a turn: what is new is stored
 * within eight turns (50 minutes), and a replica moves 0.4 MB a minute however much happens.
 */
const TURN_BYTES = 2 * 1024 * 1024;
/** A Secret for which there is something new comes before one that had its turn this much earlier. */
const AHEAD_MS = 3_600_000;
/** What was read so lately need not be read again for a decision. */
const RECENT_MS = 60_000;
const DAY_MS = 86_400_000;
const LONG_AGO = Number.NEGATIVE_INFINITY;

/**
 * Stores what is new of nodes and takes over what other replicas stored, in turns of a bounded size. Idle,
 * however many nodes are connected, it writes one small thing an hour: that the sessions of this run, which
 * are stored as open, still are.
 */
export class HistoryKeeper {
  /** Names this run in what is stored, so that it is not taken for the one before a crash. */
  readonly run = randomBytes(6).toString('base64url');
  readonly #components: HistoryKeeperComponents;
  readonly #options: () => HistoryKeeperOptions;
  readonly #shards: HistoryShards;
  readonly #sampler: LogSampler;
  /** What happened here and is not stored yet. */
  readonly #news = new Map<string, KnownNode>();
  /** Those of the news that are worth a write. */
  readonly #urgent = new Set<string>();
  /** Place → when it had its turn. */
  readonly #touched = new Map<number, number>();
  /** When it was stored last that the sessions of this run are open. */
  #refreshedAt: number;
  #hadSessions = false;
  #isLeaving = false;
  /** The end of the queue of turns. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(components: HistoryKeeperComponents, options: () => HistoryKeeperOptions) {
    const { clock } = components;
    this.#components = components;
    this.#options = options;
    this.#sampler = new LogSampler({ clock });
    this.#refreshedAt = clock.monotonic();
    this.#shards = new HistoryShards({ ...components, lostByDamage: () => this.#lostByDamage() }, options());
  }

  // — what is known —

  /** Every node, in no order. */
  *nodes(): Iterable<string> {
    yield* this.#shards.nodes.keys();
    for (const node of this.#news.keys()) if (!this.#shards.nodes.has(node)) yield node;
  }

  get(node: string): KnownNode | undefined {
    const stored = this.#shards.nodes.get(node);
    const news = this.#news.get(node);
    if (!stored) return news;
    // Of its own sessions it knows better.
    const known = stored.openIn === this.run ? stored : heldOpen(stored, this.#shards.runs);
    return news ? mergeKnown(known, news) : known;
  }

  /** Those that had to be forgotten, as all replicas know. */
  get lost(): LostNodes | undefined {
    return this.#shards.lost;
  }

  // — what is new —

  /** @param isUrgent worth a write of its own; otherwise it goes with the next one */
  note(node: string, known: KnownNode, isUrgent: boolean): void {
    this.#news.set(node, known);
    if (isUrgent) this.#urgent.add(node);
    this.#hadSessions ||= known.openIn === this.run;
  }

  /** @returns false when the node is not known @throws errors of the store */
  forget(node: string): Promise<boolean> {
    return this.#serially(async () => {
      await this.#shards.read(this.#shards.homeOf(node));
      if (this.get(node) === undefined) return false;
      this.#news.delete(node);
      this.#urgent.delete(node);
      const forgotten = new Map([[node, this.#components.clock.now()]]);
      const write = () =>
        this.#shards.write(this.#shards.homeOf(node), {
          news: { nodes: new Map(), forgotten },
          room: this.#room(),
        });
      while (!(await write()));
      return true;
    });
  }

  // — turns; none rejects: the next one tries again —

  /** Stores what is new and reads what others stored, as much as one turn may cost. */
  turn(): Promise<void> {
    const { turnBytes = TURN_BYTES } = this.#options();
    return this.#serially(() => this.#visit((urgent) => this.#inTurn(urgent), turnBytes));
  }

  /** Reads everything that was not read within a minute, for a decision that depends on it. */
  recall(): Promise<void> {
    const due = this.#components.clock.monotonic() - RECENT_MS;
    return this.#serially(() =>
      this.#visit(() => this.#places().filter((place) => this.#touchedAt(place) <= due)),
    );
  }

  /** The last word of this run: it says of all sessions that are stored as open when they ended. */
  leave(): Promise<void> {
    return this.#serially(async () => {
      for (const node of this.#urgent) if (this.#isSaidByRun(node)) this.#urgent.delete(node);
      this.#isLeaving = this.#hadSessions;
      await this.#visit((urgent) => this.#places().filter((place) => this.#isDue(place, urgent)));
    });
  }

  /**
   * One after the other, each once, until the budget is spent, and at least one.
   * @param places asked again each time; told where something urgent is new
   */
  async #visit(
    places: (urgent: ReadonlySet<number>) => readonly number[],
    budget = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const { clock, log, metrics } = this.#components;
    const done = new Set<number>();
    const problems: unknown[] = [];
    for (let spent = 0; ; ) {
      const urgent = this.#urgentPlaces();
      const place = places(urgent).find((one) => !done.has(one));
      if (place === undefined) break;
      const isDue = this.#isDue(place, urgent);
      const cost = this.#shards.bytesOf(place) * (isDue ? 2 : 1);
      if (spent > 0 && spent + cost > budget) break;
      spent += cost;
      done.add(place);
      this.#touched.set(place, clock.monotonic());
      try {
        if (!isDue) await this.#shards.read(place);
        // There are more places now, and what is new belongs there.
        else if (!(await this.#write(place))) done.clear();
      } catch (error) {
        problems.push(error);
        if (isSallyportError(error, 'SECRET_STORE_UNAVAILABLE')) break;
      }
    }
    metrics.nodeHistoryUsable.set(problems.length === 0 ? 1 : 0);
    const [problem] = problems;
    const suppressed = problem && this.#sampler.pass(isSallyportError(problem) ? problem.code : 'INTERNAL');
    if (suppressed !== undefined)
      log.warn(
        { secret: this.#options().secret, problem: describeError(problem), suppressed },
        'the history of nodes cannot be stored; it is kept in memory',
      );
  }

  /** @returns false when the nodes belong elsewhere since, and nothing was stored */
  async #write(place: number): Promise<boolean> {
    const { clock, log, metrics, noteSessions, hasSessions } = this.#components;
    const concerns = (node: string) => this.#shards.homeOf(node) === place;
    noteSessions(concerns);
    const nodes = new Map([...this.#news].filter(([node]) => concerns(node)));
    const [now, monotonic] = [clock.now(), clock.monotonic()];
    const isRunTold = place === 0 && (hasSessions() || this.#isLeaving);
    const run = isRunTold ? { run: { id: this.run, at: now } } : {};
    const dropped = await this.#shards.write(place, { news: { nodes, ...run }, room: this.#room() });
    if (!dropped) {
      log.info({ places: this.#shards.count }, 'the history of nodes is spread over more Secrets');
      return false;
    }
    for (const [node, known] of nodes) {
      if (this.#news.get(node) !== known) continue;
      this.#news.delete(node);
      this.#urgent.delete(node);
    }
    if (place === 0) this.#refreshedAt = monotonic;
    metrics.nodeHistoryLastWrite.set(now / 1000);
    if (dropped.length > 0) {
      metrics.nodeHistoryDropped.inc(dropped.length);
      log.warn(
        { nodes: dropped.length },
        'the history of nodes is full: those that were not seen for longest are forgotten',
      );
    }
    return true;
  }

  #places(): number[] {
    return Array.from({ length: this.#shards.count }, (_, place) => place);
  }

  /** The first, which tells of all; then where something is new; then by when they had their turn. */
  #inTurn(urgent: ReadonlySet<number>): number[] {
    const rank = (place: number) => {
      if (place === 0) return LONG_AGO;
      return this.#touchedAt(place) - (this.#isDue(place, urgent) ? AHEAD_MS : 0);
    };
    const ranked = this.#places().map((place) => [place, rank(place)] as const);
    return ranked.sort(([a, one], [b, two]) => (one === two ? a - b : one - two)).map(([place]) => place);
  }

  #isDue(place: number, urgent: ReadonlySet<number>): boolean {
    const { clock, hasSessions } = this.#components;
    const isSilent = hasSessions() && clock.monotonic() - this.#refreshedAt >= REFRESH_MS;
    return (
      (place === 0 && (isSilent || this.#isLeaving)) || urgent.has(place) || this.#shards.isUntidy(place)
    );
  }

  #urgentPlaces(): ReadonlySet<number> {
    return new Set([...this.#urgent].map((node) => this.#shards.homeOf(node)));
  }

  #touchedAt(place: number): number {
    return this.#touched.get(place) ?? LONG_AGO;
  }

  /** Nothing but the end of its session is new, and it is stored as open. */
  #isSaidByRun(node: string): boolean {
    const stored = this.#shards.nodes.get(node);
    const news = this.#news.get(node);
    return (
      stored?.openIn === this.run &&
      stored.certificate.serial === news?.certificate.serial &&
      stored.issued?.serial === news.issued?.serial
    );
  }

  /** Whoever was there may have the newest certificate there can be. */
  #lostByDamage(): LostNodes {
    const now = this.#components.clock.now();
    return { nodes: 1, since: now, until: now + this.#options().edgeDays * DAY_MS };
  }

  #room() {
    const { maxBytes = MAX_HISTORY_BYTES, graceDays } = this.#options();
    return { maxBytes, graceMs: graceDays * DAY_MS, now: this.#components.clock.now() };
  }

  #serially<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(task);
    this.#tail = run.catch(() => {});
    return run;
  }
}
