import type { Deed, EventRecorder } from '../../contracts/event-recorder.ts';
import type { ReplicaBoard, ReplicaFacts } from '../../contracts/replica-board.ts';
import type {
  ClosedSession,
  LiftRequest,
  RevocablePeer,
  Revocation,
  RevocationAdmin,
  RevocationDecisions,
  RevocationReceipt,
  RevocationTarget,
  RevokeRequest,
} from '../../contracts/revocations.ts';
import type { SecretStore } from '../../contracts/secret-store.ts';
import { retry } from '../../core/backoff.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { coalesced } from '../../core/coalesced.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { farewell } from '../../core/farewell.ts';
import type { Component } from '../../core/lifecycle.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { Property, type Unsubscribe } from '../../core/property.ts';
import type { ShutOut } from '../../identity/revocation-reasons.ts';
import { isoSeconds } from '../../identity/since.ts';
import { type RevocationEntry, RevocationList, type SeenCertificate, targetKey } from './revocation-list.ts';
import { RevocationState, type SharedRevocations } from './revocation-state.ts';
import { toReplicaReceipt, toRevocation } from './revocation-view.ts';

export interface RevocationComponents {
  readonly store: SecretStore;
  readonly board: Pick<ReplicaBoard, 'replicas' | 'tell' | 'elders'>;
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
  /** How far `notBefore` of new edge certificates lies back, milliseconds. */
  readonly backdateMs: number;
  /**
   * The stored list is read this often, whatever the watch says; half of what G7 allows by default,
   * milliseconds.
   */
  readonly pollMs?: number;
}

/** A session the hub has ended because its peer is revoked. */
export interface EndedSession {
  readonly peer: RevocablePeer;
  readonly sessionId: string;
  readonly transport: string;
}

const POLL_MS = 5_000;
/** Sessions that are told of; those of before are in the log. */
const MAX_CLOSED = 50;
/** Longest name of an administrator that is kept. */
const MAX_NAME = 200;
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
  /** One read at a time; what changes meanwhile is read after it. */
  readonly #read = coalesced(() => this.#readOnce());
  readonly #store = coalesced(() => this.#storeOnce());
  #loaded = false;
  #closed: readonly ClosedSession[] = [];
  readonly #seen = new Map<string, SeenCertificate>();
  #problem: string | undefined;
  #timer: Timer | undefined;
  #unwatch: Unsubscribe = () => {};
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
    const { pollMs = POLL_MS } = this.#options();
    this.#unwatch = store.watch(
      [this.#secret],
      () => void this.#read(),
      () => {},
    );
    this.#timer = clock.setInterval(() => void this.#read(), pollMs);
  }

  /** Takes the receipt for elders back, so that they do not wait for this replica. */
  async stop(signal?: AbortSignal): Promise<void> {
    const { clock, log, board } = this.#components;
    this.#stopped = true;
    this.#unwatch();
    this.#timer?.cancel();
    const lastWrite = this.#state
      .change(({ list, receipts }) => ({ list, receipts: board.elders.leave(receipts) }))
      .catch((error) => log.debug({ problem: describeError(error) }, 'no farewell was stored'));
    await farewell(clock, lastWrite, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  // — decisions —

  isRevoked(peer: RevocablePeer): ShutOut | undefined {
    return shutOut(this.#list.value.find(peer));
  }

  isNodeRevoked(node: string): ShutOut | undefined {
    return shutOut(this.#list.value.findNode(node));
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
    this.#tell({ closed: this.#closed });
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
      deed: { by, why: note === undefined ? reason : `${reason}: ${note}`, ...aboutOf(target) },
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
      deed: { by, ...aboutOf(target) },
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

  async #readOnce(): Promise<void> {
    if (this.#stopped) return;
    try {
      this.#adopt(await this.#state.read());
    } catch (error) {
      if (!this.#stopped) this.#unusable(error);
    }
  }

  #adopt({ list, receipts }: SharedRevocations): void {
    const { clock, log, metrics, board } = this.#components;
    if (this.#problem !== undefined) log.info({}, 'the list of revocations can be read again');
    this.#problem = undefined;
    metrics.revocationListUsable.set(1);
    metrics.revocationListLastRead.set(clock.now() / 1000);
    board.elders.hear(receipts);
    if (this.#seen.size > 0 || board.elders.waiting) void this.#store();
    const known = this.#list.value;
    // Whoever wrote has adopted already what a read that began earlier brings now.
    const isFirst = !this.#loaded;
    if (!isFirst && (list === known || list.version < known.version)) return;
    this.#loaded = true;
    const appliedAt = clock.now();
    metrics.revocationListVersion.set(list.version);
    for (const kind of ['node', 'quarantine', 'certificate', 'rejoined'] as const)
      metrics.revocations.set({ kind }, list.entries.filter((entry) => kindOf(entry) === kind).length);
    const level = isFirst && list.entries.length === 0 ? 'debug' : 'info';
    log[level]({ version: list.version, entries: list.entries.length }, 'list of revocations is in force');
    try {
      this.#list.set(list);
    } catch (error) {
      log.error({ err: error }, 'somebody could not follow the list of revocations');
    }
    this.#tell({ revocation: { version: list.version, appliedAt } });
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

  #tell(facts: Partial<ReplicaFacts>): void {
    const { board } = this.#components;
    void board.tell(facts);
    if (this.#seen.size > 0 || board.elders.present) void this.#store();
  }

  /**
   * Stores the certificates that nodes were seen with, and the receipt for elders. Never rejects: what comes
   * next tries again.
   */
  async #storeOnce(): Promise<void> {
    if (this.#stopped || !this.#timer) return;
    const { elders } = this.#components.board;
    const seen = [...this.#seen];
    try {
      const shared = await this.#state.change(({ list, receipts }) => ({
        list: seen.reduce((next, [node, certificate]) => next.addSeen(node, certificate), list),
        receipts: elders.answer(receipts),
      }));
      for (const [node, certificate] of seen)
        if (this.#seen.get(node) === certificate) this.#seen.delete(node);
      this.#adopt(shared);
    } catch (error) {
      if (!this.#stopped) this.#unusable(error);
    }
  }

  #receiptOf(version: number, entry?: RevocationEntry): RevocationReceipt {
    const revocation = entry && toRevocation(entry);
    const replicas = this.#components.board.replicas().map((one) => toReplicaReceipt(one, revocation?.id));
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
function shutOut(entry: RevocationEntry | undefined): ShutOut | undefined {
  return (
    entry && {
      word: isQuarantine(entry) ? 'quarantined' : 'revoked',
      text: `${entry.reason}, since ${isoSeconds(entry.at)}`,
    }
  );
}

function aboutOf(target: RevocationTarget): Deed {
  return 'node' in target ? { node: target.node } : { facts: { ...target } };
}

function isQuarantine({ reason }: RevocationEntry): boolean {
  return reason === 'certificateHold';
}

function kindOf(entry: RevocationEntry) {
  if ('serial' in entry.target) return 'certificate';
  if (entry.rejoinedBefore !== undefined) return 'rejoined';
  return isQuarantine(entry) ? 'quarantine' : 'node';
}
