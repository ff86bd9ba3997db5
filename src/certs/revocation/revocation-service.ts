import { randomBytes } from 'node:crypto';
import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type {
  ClosedSession,
  LiftRequest,
  RevocablePeer,
  Revocation,
  RevocationAdmin,
  RevocationDecisions,
  RevocationReceipt,
  RevokeRequest,
} from '../../contracts/revocations.ts';
import type { SecretStore } from '../../contracts/secret-store.ts';
import { retry } from '../../core/backoff.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { farewell } from '../../core/farewell.ts';
import type { Component } from '../../core/lifecycle.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { Property, type Unsubscribe } from '../../core/property.ts';
import { isoSeconds } from '../../identity/since.ts';
import { type RevocationEntry, RevocationList, type SeenCertificate, targetKey } from './revocation-list.ts';
import { MAX_CLOSED, type Receipts, type StoredReceipt } from './revocation-receipts.ts';
import { RevocationState, type SharedRevocations } from './revocation-state.ts';
import { toReplicaReceipt, toRevocation } from './revocation-view.ts';

export interface RevocationComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: EventRecorder;
  readonly metrics: Pick<
    Metrics,
    'revocations' | 'revocationListVersion' | 'revocationListLastRead' | 'revocationListUsable'
  >;
  /** The certificate of the session the node has here. */
  readonly certificateOf?: (node: string) => SeenCertificate | undefined;
}

export interface RevocationOptions {
  /** Name of the Secret; read once. */
  readonly secret: string;
  readonly replica: string;
  /** How far `notBefore` of new edge certificates lies back, milliseconds. */
  readonly backdateMs: number;
  /**
   * The stored list is read this often, whatever the watch says; half of what G7 allows by default,
   * milliseconds.
   */
  readonly pollMs?: number;
  /** How often this replica says that it lives, milliseconds. */
  readonly aliveMs?: number;
}

/** A session the hub has ended because its peer is revoked. */
export interface EndedSession {
  readonly peer: RevocablePeer;
  readonly sessionId: string;
  readonly transport: string;
}

const POLL_MS = 5_000;
/** Longest name of an administrator that is kept. */
const MAX_NAME = 200;
const ALIVE_MS = 60_000;
const RETRY = { minMs: 500, maxMs: 30_000 } as const;

/**
 * Who is shut out, the same on every replica: follows the stored list, by watch and by reading it every few
 * seconds, changes it, and tells what was done about it where. What is stored and cannot be read never
 * replaces the list in force.
 */
export class RevocationService implements RevocationDecisions, RevocationAdmin, Component {
  readonly name = 'revocations';
  readonly #components: RevocationComponents;
  readonly #options: () => RevocationOptions;
  readonly #secret: string;
  readonly #state: RevocationState;
  readonly #sampler: LogSampler;
  readonly #list = new Property(RevocationList.EMPTY);
  /** Names this run: two processes may have one replica name, and a replica has one life after another. */
  readonly #run = randomBytes(6).toString('base64url');
  #receipts: Receipts = new Map();
  #appliedAt = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  #loaded = false;
  #closed: readonly ClosedSession[] = [];
  readonly #seen = new Map<string, SeenCertificate>();
  #problem: string | undefined;
  #timers: readonly Timer[] = [];
  #unwatch: Unsubscribe = () => {};
  #reading = false;
  #readAgain = false;
  #telling: Promise<void> | undefined;
  #tellAgain = false;
  #stopped = false;

  constructor(components: RevocationComponents, options: () => RevocationOptions) {
    this.#components = components;
    this.#options = options;
    this.#secret = options().secret;
    this.#state = new RevocationState(components, { secret: this.#secret });
    this.#sampler = new LogSampler({ clock: components.clock });
  }

  /**
   * Reads the list for the first time; waits, with back-off, for a store that cannot be used. Nothing may
   * listen before: a hub without the list would let everybody in again.
   * @throws SECRET_MALFORMED, SECRET_KEY_MISSING, the reason of `signal`
   */
  async load(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#components;
    const shared = await retry(() => this.#state.read(), {
      ...RETRY,
      clock,
      signal,
      isRetryable: (error) => !isSallyportError(error, 'SECRET_MALFORMED', 'SECRET_KEY_MISSING'),
      onRetry: (error, delayMs) =>
        log.warn(
          { problem: describeError(error), delayMs },
          'the list of revocations cannot be read yet; nothing listens before it is known',
        ),
    });
    this.#adopt(shared);
  }

  async start(signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#components;
    if (!this.#loaded) await this.load(signal);
    const { pollMs = POLL_MS, aliveMs = ALIVE_MS } = this.#options();
    this.#unwatch = store.watch(
      [this.#secret],
      () => void this.#read(),
      () => {},
    );
    this.#timers = [
      clock.setInterval(() => void this.#read(), pollMs),
      clock.setInterval(() => this.#sayAlive(), aliveMs),
    ];
    void this.#tell();
  }

  /** Takes its receipt back, so that nobody waits for this replica. */
  async stop(signal?: AbortSignal): Promise<void> {
    const { clock, log } = this.#components;
    this.#stopped = true;
    this.#unwatch();
    for (const timer of this.#timers) timer.cancel();
    const lastWrite = this.#state
      .change(({ list, receipts }) => ({ list, receipts: without(receipts, this.#run) }))
      .catch((error) => log.debug({ problem: describeError(error) }, 'no farewell was stored'));
    await farewell(clock, lastWrite, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  // — decisions —

  isRevoked(peer: RevocablePeer): string | undefined {
    return reasonText(this.#list.value.find(peer));
  }

  isNodeRevoked(node: string): string | undefined {
    return reasonText(this.#list.value.findNode(node));
  }

  onChange(listener: () => void): Unsubscribe {
    return this.#list.onChange(() => listener());
  }

  /** The list in force. */
  get current(): RevocationList {
    return this.#list.value;
  }

  /** Why the stored list is not the one in force; undefined when it is. */
  problem(): string | undefined {
    return this.#problem;
  }

  // — what was done about them —

  /** To be called in the same turn in which a session is ended. */
  sessionEnded({ peer, sessionId, transport }: EndedSession): void {
    const entry = this.#list.value.find(peer);
    const at = new Date(this.#components.clock.now()).toISOString();
    const revocation = entry ? toRevocation(entry).id : '';
    const { nodeName: node, serial, issuerSha256 } = peer;
    this.#closed = [...this.#closed, { revocation, node, sessionId, transport, at }].slice(-MAX_CLOSED);
    if (entry && 'node' in entry.target) this.#seen.set(node, { serial, issuerSha256 });
    this.#components.log.warn(
      { audit: 'session-revoked', revocation, node, session: sessionId, serial, transport },
      'session of a revoked node closed',
    );
    void this.#tell();
  }

  // — what administrators see and do —

  list(): { version: number; items: Revocation[] } {
    const { version, entries } = this.#list.value;
    return { version, items: entries.map(toRevocation) };
  }

  receipt(id: string): RevocationReceipt | undefined {
    const entry = this.#list.value.entries.find((one) => toRevocation(one).id === id);
    return entry && this.#receiptOf(entry.version, entry);
  }

  replicas(): RevocationReceipt {
    return this.#receiptOf(this.#list.value.version);
  }

  async revoke({ target, reason, note, by }: RevokeRequest): Promise<RevocationReceipt> {
    const at = this.#components.clock.now();
    const seen = 'node' in target ? this.#components.certificateOf?.(target.node) : undefined;
    const draft = { target, reason, at, by: by.slice(0, MAX_NAME), ...(note === undefined ? {} : { note }) };
    await this.#change((list) => list.add(draft, seen ? [seen] : []));
    const entry = this.#list.value.get(target);
    this.#audit('revoked', { target: targetKey(target), reason, note, by });
    this.#components.events?.record({
      reason: 'Revoked',
      type: 'Warning',
      secret: this.#secret,
      message: `${targetKey(target)} is shut out (${reason}), by ${by}`,
    });
    return this.#receiptOf(entry?.version ?? this.#list.value.version, entry);
  }

  async lift({ target, rejoin = false, by }: LiftRequest): Promise<RevocationReceipt> {
    await this.#change((list) => {
      if (!rejoin) return list.lift(target);
      const since = list.get(target)?.at ?? 0;
      return list.letRejoin(target, this.#rejoinLimit(since));
    });
    this.#audit(rejoin ? 'rejoin-allowed' : 'revocation-lifted', { target: targetKey(target), by });
    this.#components.events?.record({
      reason: 'RevocationLifted',
      type: 'Normal',
      secret: this.#secret,
      message: `${targetKey(target)} ${rejoin ? 'may join again' : 'is let in again'}, by ${by}`,
    });
    return this.#receiptOf(this.#list.value.version, rejoin ? this.#list.value.get(target) : undefined);
  }

  /**
   * Between the last certificate that can have been issued before the revocation and the first one after now
   * nothing was issued: the middle is safe from clocks that differ.
   */
  #rejoinLimit(since: number): number {
    return (since + this.#components.clock.now()) / 2 - this.#options().backdateMs;
  }

  async #change(change: (list: RevocationList) => RevocationList): Promise<void> {
    this.#adopt(
      await this.#state.change((stored) => ({ list: change(stored.list), receipts: stored.receipts })),
    );
  }

  // — following —

  /** One read at a time; what changes meanwhile is read after it. */
  async #read(): Promise<void> {
    this.#readAgain = true;
    if (this.#reading) return;
    this.#reading = true;
    while (this.#readAgain && !this.#stopped) {
      this.#readAgain = false;
      try {
        this.#adopt(await this.#state.read());
      } catch (error) {
        if (!this.#stopped) this.#unusable(error);
      }
    }
    this.#reading = false;
  }

  #adopt({ list, receipts }: SharedRevocations): void {
    const { clock, log, metrics } = this.#components;
    if (this.#problem !== undefined) log.info({}, 'the list of revocations can be read again');
    this.#problem = undefined;
    metrics.revocationListUsable.set(1);
    metrics.revocationListLastRead.set(clock.now() / 1000);
    this.#receipts = receipts;
    if (clock.monotonic() - this.#toldAt >= (this.#options().aliveMs ?? ALIVE_MS)) this.#sayAlive();
    const known = this.#list.value;
    // Whoever wrote has adopted already what a read that began earlier brings now.
    if (this.#loaded && (list === known || list.version < known.version)) return;
    this.#loaded = true;
    this.#appliedAt = clock.now();
    metrics.revocationListVersion.set(list.version);
    for (const kind of ['node', 'quarantine', 'certificate', 'rejoined'] as const)
      metrics.revocations.set({ kind }, list.entries.filter((entry) => kindOf(entry) === kind).length);
    log.info({ version: list.version, entries: list.entries.length }, 'list of revocations is in force');
    try {
      this.#list.set(list);
    } catch (error) {
      log.error({ err: error }, 'somebody could not follow the list of revocations');
    }
    void this.#tell();
  }

  #unusable(error: unknown): void {
    const { log, metrics } = this.#components;
    this.#problem = describeError(error);
    metrics.revocationListUsable.set(0);
    const suppressed = this.#sampler.pass(isSallyportError(error) ? error.code : 'INTERNAL');
    if (suppressed !== undefined)
      log.error(
        { problem: this.#problem, suppressed },
        'the list of revocations cannot be read; the last good one stays in force',
      );
  }

  // — receipts —

  /** Only to others: a gateway that is alone writes nothing while nothing changes. */
  #sayAlive(): void {
    if ([...this.#receipts.keys()].some((run) => run !== this.#run)) void this.#tell();
  }

  /**
   * Stores what this replica has seen and closed. Never rejects: the next turn of the heartbeat tries again.
   */
  #tell(): Promise<void> {
    if (this.#stopped || this.#timers.length === 0) return Promise.resolve();
    if (this.#telling) {
      this.#tellAgain = true;
      return this.#telling;
    }
    this.#telling = this.#tellOnce().finally(() => {
      this.#telling = undefined;
      if (!this.#tellAgain) return;
      this.#tellAgain = false;
      void this.#tell();
    });
    return this.#telling;
  }

  async #tellOnce(): Promise<void> {
    const seen = [...this.#seen];
    try {
      const shared = await this.#state.change(({ list, receipts }) => {
        return {
          list: seen.reduce((next, [node, certificate]) => next.addSeen(node, certificate), list),
          receipts: new Map([...receipts, [this.#run, this.#ownReceipt()]]),
        };
      });
      for (const [node, certificate] of seen)
        if (this.#seen.get(node) === certificate) this.#seen.delete(node);
      this.#toldAt = this.#components.clock.monotonic();
      this.#adopt(shared);
    } catch (error) {
      if (!this.#stopped) this.#unusable(error);
    }
  }

  #ownReceipt(): StoredReceipt {
    return {
      replica: this.#options().replica,
      version: this.#list.value.version,
      appliedAt: this.#appliedAt,
      aliveAt: this.#components.clock.now(),
      closed: this.#closed,
    };
  }

  #receiptOf(version: number, entry?: RevocationEntry): RevocationReceipt {
    const now = this.#components.clock.now();
    const aliveMs = this.#options().aliveMs ?? ALIVE_MS;
    const revocation = entry && toRevocation(entry);
    const replicas = [...new Map([...this.#receipts, [this.#run, this.#ownReceipt()]]).values()]
      .map((receipt) => toReplicaReceipt(receipt, { now, aliveMs, revocation: revocation?.id }))
      .sort((a, b) => a.replica.localeCompare(b.replica));
    return {
      ...(revocation ? { revocation } : {}),
      version,
      complete: replicas.every((one) => !one.alive || one.version >= version),
      replicas,
    };
  }

  #audit(audit: string, fields: Readonly<Record<string, unknown>>): void {
    this.#components.log.warn(
      { audit, ...fields, version: this.#list.value.version },
      'an administrator changed the list of revocations',
    );
  }
}

/** For the edge: neither who decided nor the note. */
function reasonText(entry: RevocationEntry | undefined): string | undefined {
  if (!entry) return undefined;
  const word = entry.reason === 'certificateHold' ? 'quarantined (certificateHold)' : entry.reason;
  return `${word}, since ${isoSeconds(entry.at)}`;
}

function kindOf({ target, reason, rejoinedBefore }: RevocationEntry) {
  if ('serial' in target) return 'certificate';
  if (rejoinedBefore !== undefined) return 'rejoined';
  return reason === 'certificateHold' ? 'quarantine' : 'node';
}

/** The very same when there is nothing to take away, so that nothing is written. */
function without(receipts: Receipts, run: string): Receipts {
  if (!receipts.has(run)) return receipts;
  return new Map([...receipts].filter(([name]) => name !== run));
}
