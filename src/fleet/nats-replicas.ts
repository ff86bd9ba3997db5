import type { KV, KvWatchEntry } from '@nats-io/kv';
import type { NatsConnection as Connection, QueuedIterator } from '@nats-io/transport-node';
import type { ReplicaInfo } from '../contracts/node-ownership.ts';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import { openBucket } from '../nats/nats-bucket.ts';
import type { NatsConnection } from '../nats/nats-connection.ts';
import type { Namesakes } from './namesakes.ts';

export interface NatsReplicasComponents {
  readonly connection: NatsConnection;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly namesakes?: Namesakes;
}

export interface NatsReplicasOptions {
  /** Name of this replica. */
  readonly replica: string;
  /** First part of the bucket's name. */
  readonly prefix: string;
  /** Copies JetStream keeps. */
  readonly copies: number;
  readonly requestTimeoutMs: number;
  /** Period of the sign of life. */
  readonly heartbeatMs: number;
  /**
   * Silence of NATS after which this replica trusts no claim of its own; below `deadMs`, so that it stops
   * before others count it out.
   */
  readonly leaseMs: number;
  /** Silence after which a replica counts as dead. */
  readonly deadMs: number;
}

/**
 * Nodes of a dead replica are free within `deadMs` and one heartbeat: 7.5 s. One write every 1.5 s a replica,
 * however many nodes it has.
 */
export const REPLICA_TIMES = { heartbeatMs: 1_500, leaseMs: 4_500, deadMs: 6_000 } as const;
const RETRY = { minMs: 100, maxMs: 2_000 } as const;

/**
 * Which replicas are alive: each writes a sign of life to a bucket whose entries end by themselves, and
 * watches those of the others. While NATS does not confirm our own, this replica is `unsure`: others may
 * count it out, so it must rely on no claim.
 */
export class NatsReplicas implements Component {
  readonly name = 'replicas';
  readonly self: ReplicaInfo;
  readonly #connection: NatsConnection;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #namesakes: Namesakes | undefined;
  readonly #options: NatsReplicasOptions;
  /** By run; when the last sign of life was stored, by the clock of NATS. */
  readonly #seen = new Map<string, { readonly replica: string; at: number }>();
  readonly #sure = new Set<(connection: Connection) => void>();
  readonly #unsure = new Set<() => void>();
  readonly #died = new Set<(gone: ReplicaInfo) => void>();
  readonly #offs: Unsubscribe[] = [];
  #timer: Timer | undefined;
  #kv: KV | undefined;
  #watch: QueuedIterator<KvWatchEntry> | undefined;
  /** Grows with each attempt to join; an older attempt gives up. */
  #attempt = 0;
  #joinBegan = Number.NEGATIVE_INFINITY;
  #confirmedAt = 0;
  #isSure = false;
  #problem: string | undefined = 'NATS has not been reached yet';
  #stopped = false;

  constructor(
    { connection, clock, log, metrics, namesakes }: NatsReplicasComponents,
    options: NatsReplicasOptions,
  ) {
    this.#connection = connection;
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
    this.#namesakes = namesakes;
    this.#options = options;
    this.self = { replica: options.replica, run: crypto.randomUUID() };
  }

  async start(): Promise<void> {
    this.#offs.push(
      this.#connection.onUp((connection) => void this.#join(connection)),
      this.#connection.onDown(() => this.#loseSight(this.#connection.problem() ?? 'NATS is gone')),
    );
    this.#timer = this.#clock.setInterval(() => this.#tick(), this.#options.heartbeatMs);
    if (this.#connection.problem() === undefined) void this.#join(this.#connection.current());
  }

  /** Takes the leave of the others, so that none has to wait for the silence. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#timer?.cancel();
    for (const off of this.#offs) off();
    const kv = this.#isSure ? this.#kv : undefined;
    this.#loseSight('this replica has stopped');
    await kv?.delete(this.self.run).catch(() => {});
  }

  /** True while what this replica owns is certain. */
  get sure(): boolean {
    return this.#isSure;
  }

  problem(): string | undefined {
    return this.#isSure ? undefined : this.#problem;
  }

  /** Those that are alive, this one first; the last known ones while unsure. */
  list(): readonly ReplicaInfo[] {
    return [this.self, ...[...this.#seen].map(([run, { replica }]) => ({ replica, run }))];
  }

  isAlive(run: string): boolean {
    return run === this.self.run || this.#seen.has(run);
  }

  /** Called each time this replica becomes sure, and now when it is; the other replicas are known by then. */
  onSure(listener: (connection: Connection) => void): Unsubscribe {
    this.#sure.add(listener);
    if (this.#isSure) listener(this.#connection.current());
    return () => this.#sure.delete(listener);
  }

  onUnsure(listener: () => void): Unsubscribe {
    this.#unsure.add(listener);
    return () => this.#unsure.delete(listener);
  }

  /** Called when another replica has left or fallen silent. */
  onDied(listener: (gone: ReplicaInfo) => void): Unsubscribe {
    this.#died.add(listener);
    return () => this.#died.delete(listener);
  }

  async #join(connection: Connection): Promise<void> {
    const attempt = ++this.#attempt;
    this.#joinBegan = this.#clock.monotonic();
    const isOld = () => attempt !== this.#attempt || this.#stopped;
    for (let tries = 0; !isOld(); tries++) {
      try {
        const { prefix, copies, requestTimeoutMs, deadMs } = this.#options;
        const { kv } = await openBucket(connection, {
          bucket: `${prefix}-replicas`,
          replicas: copies,
          requestTimeoutMs,
          ttlMs: deadMs,
        });
        if (isOld()) return;
        this.#kv = kv;
        await this.#beat(kv);
        const watch = await kv.watch();
        if (isOld()) return watch.stop();
        this.#watch?.stop();
        this.#watch = watch;
        await this.#follow(watch, isOld, connection);
        return;
      } catch (error) {
        if (isOld()) return;
        this.#problem = describeError(error);
        this.#log.warn({ problem: this.#problem }, 'cannot join the other replicas; trying again');
        await this.#clock.sleep(backoffDelayMs(tries, RETRY));
      }
    }
  }

  async #follow(
    watch: QueuedIterator<KvWatchEntry>,
    isOld: () => boolean,
    connection: Connection,
  ): Promise<void> {
    // Whom NATS no longer holds has been silent for as long as it takes to be dead.
    const present = new Set<string>();
    let caughtUp = false;
    for await (const entry of watch) {
      if (isOld()) break;
      this.#hear(entry);
      if (caughtUp) continue;
      if (entry.operation === 'PUT') present.add(entry.key);
      if (entry.delta !== 0) continue;
      caughtUp = true;
      for (const run of [...this.#seen.keys()]) if (!present.has(run)) this.#lose(run);
      this.#becomeSure(connection);
    }
    if (!isOld()) throw new SallyportError('BUS_UNAVAILABLE', { problem: 'the watch of the replicas ended' });
  }

  #hear(entry: KvWatchEntry): void {
    const { key: run } = entry;
    const storedAt = entry.created.getTime();
    const known = this.#seen.get(run);
    if (run === this.self.run) this.#loseSilent(storedAt);
    else if (entry.operation !== 'PUT') this.#lose(run);
    else if (known) known.at = storedAt;
    else this.#meet(run, entry);
    this.#namesakes?.see('nats', this.#seen);
  }

  /**
   * Our own sign of life came back, in the order in which NATS has stored all of them: who had none for so
   * long before it is silent. So neither another clock nor a busy process of ours can count a living replica
   * out, and while we are deaf nobody is.
   */
  #loseSilent(now: number): void {
    for (const [run, { at }] of [...this.#seen]) if (now - at > this.#options.deadMs) this.#lose(run);
  }

  #meet(run: string, entry: KvWatchEntry): void {
    const replica = entry.string().slice(0, 253);
    this.#seen.set(run, { replica, at: entry.created.getTime() });
    this.#metrics.replicas.set(this.list().length);
    this.#log.info({ replica, run }, 'another replica is here');
  }

  #lose(run: string): void {
    const gone = this.#seen.get(run);
    if (!gone) return;
    this.#seen.delete(run);
    this.#metrics.replicas.set(this.list().length);
    this.#log.info({ replica: gone.replica, run }, 'another replica is gone');
    for (const listener of [...this.#died]) listener({ replica: gone.replica, run });
  }

  #tick(): void {
    const now = this.#clock.monotonic();
    if (this.#isSure && now - this.#confirmedAt > this.#options.leaseMs)
      this.#loseSight('NATS does not confirm the signs of life');
    if (this.#connection.problem() !== undefined) return;
    // An attempt to join that has come to nothing gives way to a new one.
    const isJoining = now - this.#joinBegan < this.#options.requestTimeoutMs * 3;
    if (!this.#isSure && !isJoining) return void this.#join(this.#connection.current());
    if (!this.#isSure || !this.#kv) return;
    this.#beat(this.#kv).catch((error: unknown) =>
      this.#log.debug({ problem: describeError(error) }, 'a sign of life was not taken'),
    );
  }

  async #beat(kv: KV): Promise<void> {
    const at = this.#clock.monotonic();
    await kv.put(this.self.run, this.self.replica, { timeout: this.#options.leaseMs });
    this.#confirmedAt = Math.max(this.#confirmedAt, at);
  }

  #becomeSure(connection: Connection): void {
    if (this.#isSure || this.#stopped) return;
    this.#isSure = true;
    this.#problem = undefined;
    this.#metrics.replicas.set(this.list().length);
    this.#metrics.ownershipCertain.set(1);
    for (const listener of [...this.#sure]) listener(connection);
  }

  #loseSight(problem: string): void {
    this.#attempt++;
    this.#watch?.stop();
    this.#watch = undefined;
    this.#joinBegan = Number.NEGATIVE_INFINITY;
    this.#problem = problem;
    if (!this.#isSure) return;
    this.#isSure = false;
    this.#metrics.ownershipCertain.set(0);
    this.#log.warn(
      { problem },
      'this replica is cut off from the others: edges stay connected, and get nothing',
    );
    for (const listener of [...this.#unsure]) listener();
  }
}
