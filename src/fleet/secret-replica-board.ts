import { randomBytes } from 'node:crypto';
import type { KnownReplica, ReplicaBoard, ReplicaFacts } from '../contracts/replica-board.ts';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import type { ServedCertificate } from '../contracts/served-certificates.ts';
import { backoffDelayMs } from '../core/backoff.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { coalesced } from '../core/coalesced.ts';
import { describeError } from '../core/errors.ts';
import { farewell } from '../core/farewell.ts';
import type { Component } from '../core/lifecycle.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Unsubscribe } from '../core/property.ts';
import { SharedRecord } from '../core/shared-record.ts';
import { ElderReceipts } from './elder-receipts.ts';
import type { Namesakes } from './namesakes.ts';
import { decodeEntries, decodeServed, type Entries, encodeEntries, without } from './replica-entry.ts';

export interface ReplicaBoardComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly namesakes?: Namesakes;
}

export interface ReplicaBoardOptions {
  /** Name of the Secret; read once. */
  readonly secret: string;
  readonly replica: string;
  /** How often this replica says that it lives, milliseconds; read once. */
  readonly aliveMs?: number;
}

/** Where the entries stand in their Secret. */
export const BOARD_FIELD = 'board.json';
/** Where replicas of 0.1 tell what they serve. */
const ELDER_FIELD = 'served.json';
const ALIVE_MS = 60_000;
/** Signs of life a replica may miss before it no longer counts as alive. */
const MISSED = 2.5;
const RETRY = { minMs: 1_000, maxMs: 60_000 } as const;

interface Board {
  readonly entries: Entries;
  readonly servedByElders: readonly ServedCertificate[];
}

/**
 * The board in one Secret, followed by watch, and read with each sign of life besides. A replica that is
 * alone writes nothing while nothing changes.
 */
export class SecretReplicaBoard implements ReplicaBoard, Component {
  readonly name = 'replica board';
  readonly run = randomBytes(6).toString('base64url');
  readonly elders: ElderReceipts;
  readonly #components: ReplicaBoardComponents;
  readonly #options: () => ReplicaBoardOptions;
  readonly #secret: string;
  readonly #aliveMs: number;
  readonly #record: SharedRecord<Board>;
  readonly #sampler: LogSampler;
  readonly #write = coalesced(() => this.#writeOnce());
  #board: Board = { entries: new Map(), servedByElders: [] };
  #facts: ReplicaFacts = { revocation: { version: 0, appliedAt: 0 }, closed: [], rollover: 0, served: [] };
  /** There is something to tell, if only that this replica lives. */
  #due = true;
  #toldAt = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #isRunning = false;
  #timer: Timer | undefined;
  #retry: Timer | undefined;
  #unwatch: Unsubscribe = () => {};

  constructor(components: ReplicaBoardComponents, options: () => ReplicaBoardOptions) {
    this.#components = components;
    this.#options = options;
    const { secret, aliveMs = ALIVE_MS } = options();
    this.#secret = secret;
    this.#aliveMs = aliveMs;
    this.#sampler = new LogSampler({ clock: components.clock });
    this.#record = new SharedRecord(components, {
      name: secret,
      codec: {
        decode: (stored) => ({ value: this.#decode(stored) }),
        encode: ({ entries, servedByElders }, { [ELDER_FIELD]: elders, ...previous }) => ({
          ...previous,
          ...(elders && servedByElders.length > 0 ? { [ELDER_FIELD]: elders } : {}),
          [BOARD_FIELD]: encodeEntries(entries, components.clock.now()),
        }),
      },
    });
    this.elders = new ElderReceipts({
      clock: components.clock,
      aliveMs: this.#aliveMs,
      self: () => [this.run, this.#own()],
      isOnBoard: (run) => this.#board.entries.has(run),
      isAlive: (entry) => this.#isAlive(entry),
    });
  }

  async start(): Promise<void> {
    const { store, clock } = this.#components;
    this.#isRunning = true;
    this.#unwatch = store.watch(
      [this.#secret],
      (snapshot) => this.#adopt(this.#decode(snapshot.get(this.#secret))),
      () => {},
    );
    this.#timer = clock.setInterval(() => this.#sayAlive(), this.#aliveMs);
    void this.#write();
  }

  /** Takes its entry back, so that nobody waits for this replica. */
  async stop(signal?: AbortSignal): Promise<void> {
    const { clock, log } = this.#components;
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.#unwatch();
    this.#timer?.cancel();
    this.#retry?.cancel();
    const lastWrite = this.#record
      .change((board) => {
        const entries = without(board.entries, this.run);
        return entries === board.entries ? board : { ...board, entries };
      })
      .catch((error) => log.debug({ problem: describeError(error) }, 'no farewell was stored'));
    await farewell(clock, lastWrite, signal);
  }

  replicas(): readonly KnownReplica[] {
    const all = new Map([...this.elders.entries, ...this.#board.entries, [this.run, this.#own()]]);
    return [...all]
      .map(([run, entry]) => ({ ...entry, run, alive: this.#isAlive(entry) }))
      .sort((a, b) => a.replica.localeCompare(b.replica));
  }

  servedByOthers(): readonly ServedCertificate[] {
    const living = this.replicas().filter(({ run, alive }) => alive && run !== this.run);
    return [...living.flatMap(({ served }) => served), ...this.#board.servedByElders];
  }

  async read(signal?: AbortSignal): Promise<void> {
    this.#adopt(await this.#record.read(signal));
  }

  tell(facts: Partial<ReplicaFacts>): Promise<void> {
    this.note(facts);
    this.#due = true;
    return this.#write();
  }

  note(facts: Partial<ReplicaFacts>): void {
    this.#facts = { ...this.#facts, ...facts };
  }

  #own() {
    return { replica: this.#options().replica, aliveAt: this.#components.clock.now(), ...this.#facts };
  }

  #isAlive({ aliveAt }: { readonly aliveAt: number }): boolean {
    return this.#components.clock.now() - aliveAt < this.#aliveMs * MISSED;
  }

  #sayAlive(): void {
    this.#due ||= this.#hasOthers();
    void (this.#due ? this.#write() : this.read().catch((error) => this.#warn(error)));
  }

  #hasOthers(): boolean {
    const { entries } = this.#board;
    return entries.size > (entries.has(this.run) ? 1 : 0);
  }

  #adopt(board: Board): void {
    this.#board = board;
    const others = [...board.entries].filter(([run, entry]) => run !== this.run && this.#isAlive(entry));
    this.#components.namesakes?.see(
      'store',
      new Map(others.map(([run, { replica, aliveAt }]) => [run, { replica, at: aliveAt }])),
    );
    // Another came, or came back, and what it reads of this one is old.
    const silentMs = this.#components.clock.monotonic() - this.#toldAt;
    this.#due ||= this.#hasOthers() && silentMs >= this.#aliveMs;
    if (this.#due || !board.entries.has(this.run)) void this.#write();
  }

  async #writeOnce(): Promise<void> {
    if (!this.#isRunning) return;
    const { clock } = this.#components;
    const isDue = this.#due;
    this.#due = false;
    try {
      const { value, wrote } = await this.#record.change((board) =>
        isDue || !board.entries.has(this.run)
          ? { ...board, entries: new Map([...board.entries, [this.run, this.#own()]]) }
          : board,
      );
      this.#failures = 0;
      if (wrote) this.#toldAt = clock.monotonic();
      this.#adopt(value);
    } catch (error) {
      this.#due = true;
      if (!this.#isRunning) return;
      this.#warn(error);
      const delayMs = backoffDelayMs(this.#failures++, RETRY);
      this.#retry?.cancel();
      this.#retry = clock.setTimeout(() => void this.#write(), delayMs);
    }
  }

  #warn(error: unknown): void {
    const suppressed = this.#sampler.pass('board');
    if (suppressed !== undefined)
      this.#components.log.warn(
        { secret: this.#secret, problem: describeError(error), suppressed },
        'what replicas tell each other cannot be read or stored; trying again',
      );
  }

  #decode(stored: Pick<Secret, 'data'> | undefined): Board {
    const data = stored?.data ?? {};
    return {
      entries: decodeEntries(data[BOARD_FIELD]),
      servedByElders: decodeServed(data[ELDER_FIELD], this.#components.clock.now()),
    };
  }
}
