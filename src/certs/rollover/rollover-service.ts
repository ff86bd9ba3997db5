import type {
  CaRolloverAdmin,
  CaRolloverStatus,
  RolloverCa,
  RolloverPhase,
  RolloverRequest,
  RolloverStep,
} from '../../contracts/ca-rollover.ts';
import type { CaCertificate } from '../../contracts/certificate-source.ts';
import type { EventRecorder } from '../../contracts/event-recorder.ts';
import type { ReplicaBoard } from '../../contracts/replica-board.ts';
import type { SecretStore } from '../../contracts/secret-store.ts';
import { backoffDelayMs } from '../../core/backoff.ts';
import type { Clock, Timer } from '../../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import type { Component } from '../../core/lifecycle.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { SharedRecord } from '../../core/shared-record.ts';
import { bridgesFrom, type CaParts } from '../ca/ca-roles.ts';
import {
  afterStep,
  isDone,
  nowAsking,
  phaseAfter,
  type RolloverPair,
  type RolloverState,
  stepsIn,
} from '../ca/rollover-state.ts';
import type { CertificateManager } from '../certificate-manager.ts';
import { blockersOf, replicasOf, type StepEvidence } from './rollover-gate.ts';
import { type Assessment, assessNodes, leavingSide, type NodeEvidence, sidesOf } from './rollover-nodes.ts';
import { finishRevoke, makePair, rolloverRecord } from './rollover-pair.ts';

export interface CaRolloverComponents {
  readonly store: SecretStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: EventRecorder;
  readonly metrics: Pick<Metrics, 'rolloverPhase' | 'rolloverNodes' | 'rolloverDependent' | 'rolloverSteps'>;
  readonly certificates: Pick<
    CertificateManager,
    | 'cas'
    | 'current'
    | 'status'
    | 'furtherTrust'
    | 'hubIsManaged'
    | 'caMatchesStore'
    | 'onChange'
    | 'onRollover'
    | 'adoptRollover'
    | 'repairHub'
  >;
  /** All that is known of the fleet, of every replica. */
  readonly nodes: () => readonly NodeEvidence[];
  /**
   * Asks every node with a session here whose certificate is of this CA to renew. @returns how many were
   * asked
   */
  readonly ask: (issuerSha256: string) => number;
  readonly board: ReplicaBoard;
}

export interface CaRolloverOptions {
  readonly replica: string;
  readonly caDays: number;
  /** How long an expired certificate may still be renewed, days. */
  readonly graceDays: number;
  /** Names of Secrets; read once. */
  readonly caSecret: string;
  readonly rolloverSecret: string;
  readonly trustSecret: string;
  readonly hubSecret: string;
}

const DAY_MS = 86_400_000;
/**
 * Nodes that connect, or did not do as they were asked, are asked again this often; and the metrics are as
 * old at most.
 */
const REPEAT_MS = 60_000;
const RETRY = { minMs: 1_000, maxMs: 60_000 } as const;
const PHASES: readonly RolloverPhase[] = ['idle', 'prepared', 'active', 'retiring', 'revoking'];
const MAX_NAME = 200;
const NOBODY = { dependent: 0, old: 0, new: 0, other: 0 } as const;
const DEFAULT_LIMIT = 100;

/**
 * Replaces the CA in steps that an administrator asks for, each one write of one Secret, so that no replica
 * leads and none is needed: whoever lives follows, and ends what another began. `CertificateManager` turns
 * the state into trust and certificates; this decides whether a step may be done.
 */
export class CaRolloverService implements CaRolloverAdmin, Component {
  readonly name = 'CA rollover';
  readonly #components: CaRolloverComponents;
  readonly #options: () => CaRolloverOptions;
  readonly #secret: string;
  readonly #record: SharedRecord<RolloverState>;
  #timer: Timer | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #unfollow: Unsubscribe = () => {};
  #stopped = false;
  /** The end of the queue of writes of this process. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(components: CaRolloverComponents, options: () => CaRolloverOptions) {
    this.#components = components;
    this.#options = options;
    this.#secret = options().rolloverSecret;
    this.#record = rolloverRecord(components, this.#secret, () => components.certificates.cas.rollover);
  }

  async start(): Promise<void> {
    const { certificates, clock } = this.#components;
    const unfollow = [
      certificates.onRollover(() => this.#follow()),
      // Only then new certificates come from the CA of the phase, and it makes sense to ask for one.
      certificates.onChange(() => this.#repeat()),
    ];
    this.#unfollow = () => unfollow.forEach((off) => void off());
    this.#timer = clock.setInterval(() => this.#repeat(), REPEAT_MS);
    this.#follow();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unfollow();
    this.#timer?.cancel();
    this.#retry?.cancel();
    await this.#tail;
  }

  status({ limit = DEFAULT_LIMIT }: { limit?: number } = {}): CaRolloverStatus {
    const { certificates, clock } = this.#components;
    const { cas } = certificates;
    const { rollover, roles } = cas;
    const evidence = this.#evidence(cas);
    const { nodes, counts, summary } = evidence.assessment;
    const [bridge] = bridgesFrom(roles.issuing.x509, roles.bridges, clock.now());
    return {
      phase: rollover.phase,
      version: rollover.version,
      issuing: describeCa(roles.issuing.certificate),
      ...(rollover.pair
        ? {
            old: {
              sha256: sidesOf(cas).old,
              subject: rollover.pair.old.subject,
              notAfter: rollover.pair.old.validToDate.toISOString(),
            },
            new: describeCa(rollover.pair.next.certificate),
          }
        : {}),
      ...(bridge ? { bridgedUntil: bridge.validToDate.toISOString() } : {}),
      steps: rollover.steps,
      asking: rollover.asking,
      replicas: replicasOf(evidence),
      nodes: counts,
      summary,
      next: stepsIn(rollover.phase).map((step) => ({ step, blockers: blockersOf(step, evidence) })),
      warnings: this.#warnings(cas, evidence.assessment),
      items: nodes.slice(0, limit),
    };
  }

  async step({ step, force = false, by }: RolloverRequest): Promise<CaRolloverStatus> {
    const { metrics } = this.#components;
    try {
      const done = await this.#serially(() => this.#step({ step, force, by: by.slice(0, MAX_NAME) }));
      metrics.rolloverSteps.inc({ step, result: done ? 'done' : 'unchanged' });
    } catch (error) {
      metrics.rolloverSteps.inc({ step, result: isSallyportError(error) ? 'refused' : 'failed' });
      throw error;
    }
    return this.status();
  }

  // — a step —

  /** @returns false when it was done before */
  async #step(request: Required<RolloverRequest>): Promise<boolean> {
    const { step, force, by } = request;
    const { clock, certificates, board } = this.#components;
    let made: RolloverPair | undefined;
    let plan: { from: RolloverPhase; phase: RolloverPhase; blockers: string[] } | undefined;
    const { value, record, wrote } = await this.#record.change(async (state, secret) => {
      plan = undefined;
      if (secret) await certificates.adoptRollover(secret);
      if (isDone(state, step)) return state;
      const phase = phaseAfter(state.phase, step);
      if (!phase) throw new SallyportError('ROLLOVER_PHASE', { phase: state.phase, step });
      this.#checkPossible(step);
      if (!force) await board.read();
      const blockers = force ? [] : blockersOf(step, this.#evidence(certificates.cas));
      plan = { from: state.phase, phase, blockers };
      // The very nodes that block `retire` are asked, here and on every replica, so that it can be done a
      // little later.
      if (blockers.length > 0) return step === 'retire' ? nowAsking(state) : state;
      if (step === 'prepare') made ??= await makePair({ clock, own: certificates.cas.own }, this.#options());
      const at = new Date(clock.now()).toISOString();
      const entry = { step, at, by, ...(force ? { forced: true as const } : {}) };
      return this.#withReceipt(afterStep(state, { phase, record: entry, ...(made ? { pair: made } : {}) }));
    });
    if (record && wrote) await certificates.adoptRollover(record);
    if (!plan) return false;
    const { from, phase, blockers } = plan;
    if (blockers.length > 0) {
      if (step === 'retire') blockers.push('connected nodes with the SDK have been asked to renew');
      throw new SallyportError('ROLLOVER_BLOCKED', { step, problem: blockers.join('; ') });
    }
    this.#audit(request, { from, phase, version: value.version });
    // Followed up until it succeeds, whatever becomes of this attempt.
    if (phase === 'revoking') await this.#finish().catch(() => {});
    await this.#repairHub();
    return true;
  }

  /** What no `force` helps against. @throws ROLLOVER_IMPOSSIBLE, CA_INVALID */
  #checkPossible(step: RolloverStep): void {
    const { certificates } = this.#components;
    const { hubSecret, caSecret } = this.#options();
    if (!certificates.caMatchesStore())
      throw new SallyportError('CA_INVALID', {
        secret: caSecret,
        problem: 'the CA in use is not the stored one',
      });
    if (certificates.hubIsManaged || step === 'abort') return;
    const problem = `secret ${hubSecret} is kept by somebody else, so no hub certificate of the new CA can be issued`;
    throw new SallyportError('ROLLOVER_IMPOSSIBLE', { problem });
  }

  /** A failure is no failure of the step: the manager tries again. */
  async #repairHub(): Promise<void> {
    const { certificates, log } = this.#components;
    await certificates.repairHub().catch((error) => {
      log.warn({ problem: describeError(error) }, 'the hub certificate of the other CA is issued later');
    });
  }

  #audit(
    { step, force, by }: Required<RolloverRequest>,
    { from, phase, version }: { from: RolloverPhase; phase: RolloverPhase; version: number },
  ): void {
    const { log, events, certificates } = this.#components;
    const { old, new: next } = sidesOf(certificates.cas);
    log.warn(
      { audit: 'ca-rollover', step, from, phase, by, forced: force, version, old, new: next },
      'an administrator took a step of the CA rollover',
    );
    events?.record({
      reason: 'CaRollover',
      type: force || step === 'revoke' ? 'Warning' : 'Normal',
      secret: this.#secret,
      message: `CA rollover: ${step}${force ? ' (forced)' : ''}, from ${from} to ${phase}, by ${by}`,
    });
  }

  // — following —

  #follow(): void {
    const { certificates, metrics, board } = this.#components;
    const { phase, version } = certificates.cas.rollover;
    board.note({ rollover: version });
    for (const one of PHASES) metrics.rolloverPhase.set({ phase: one }, one === phase ? 1 : 0);
    this.#repeat();
    void this.#serially(() => this.#catchUp()).catch(() => {});
  }

  /** Says that it knows the state, and ends what another replica began and did not live to end. */
  async #catchUp(): Promise<void> {
    const { certificates, clock, log } = this.#components;
    this.#retry?.cancel();
    if (this.#stopped || certificates.cas.rollover.phase === 'idle') return;
    try {
      if (certificates.cas.rollover.phase === 'revoking') await this.#finish();
      await this.#tell();
      this.#failures = 0;
    } catch (error) {
      if (this.#stopped) return;
      log.warn({ problem: describeError(error) }, 'the CA rollover cannot be followed up yet; trying again');
      const delayMs = backoffDelayMs(this.#failures++, RETRY);
      this.#retry = clock.setTimeout(() => this.#follow(), delayMs);
    }
  }

  async #tell(): Promise<void> {
    const { board, certificates } = this.#components;
    const { version: known, receipts } = certificates.cas.rollover;
    board.tell({ rollover: known });
    if (!this.#hasElders(receipts)) return;
    await this.#record.change((state, secret) => {
      // What is stored and not known here yet is told once it is.
      if (!secret || state.phase === 'idle' || state.version !== known) return state;
      return state.receipts.get(board.run)?.version === known ? state : this.#withReceipt(state);
    });
  }

  /** Replicas of 0.1 look for receipts in the Secret of the rollover; one may have left its own there. */
  #hasElders(receipts: RolloverState['receipts']): boolean {
    const { board } = this.#components;
    const known = new Set(board.replicas().map(({ run }) => run));
    return board.elders.present || [...receipts.keys()].some((run) => !known.has(run));
  }

  #withReceipt(state: RolloverState): RolloverState {
    const { board, clock } = this.#components;
    if (!this.#hasElders(state.receipts)) return state;
    const receipt = { replica: this.#options().replica, version: state.version, at: clock.now() };
    return { ...state, receipts: new Map([...state.receipts, [board.run, receipt]]) };
  }

  /** Any replica may do it, any number of times, from any point on. */
  async #finish(): Promise<void> {
    const { store, clock, certificates, log } = this.#components;
    const { caSecret, rolloverSecret } = this.#options();
    const secret = await finishRevoke({ store, clock }, { caSecret, rolloverSecret });
    if (!secret) return;
    await certificates.adoptRollover(secret);
    log.warn(
      { audit: 'ca-rollover', phase: 'idle' },
      'the new CA is stored as the CA; the rollover has ended',
    );
  }

  #repeat(): void {
    const { certificates, metrics, ask, log } = this.#components;
    const { cas } = certificates;
    const counts = cas.rollover.phase === 'idle' ? NOBODY : this.#evidence(cas).assessment.counts;
    metrics.rolloverDependent.set(counts.dependent);
    for (const ca of ['old', 'new', 'other'] as const) metrics.rolloverNodes.set({ ca }, counts[ca]);
    const leaving = leavingSide(cas);
    const issues = certificates.current().ca.sha256 === cas.roles.issuing.certificate.sha256;
    if (!cas.rollover.asking || !leaving || !issues) return;
    const asked = ask(sidesOf(cas)[leaving]!);
    if (asked > 0) log.info({ nodes: asked }, 'asked nodes to renew their certificate');
  }

  // — small things —

  #evidence(cas: CaParts): StepEvidence {
    const { nodes, clock, certificates, board } = this.#components;
    const { graceDays, trustSecret } = this.#options();
    return {
      cas,
      assessment: assessNodes(cas, nodes(), { now: clock.now(), graceMs: graceDays * DAY_MS }),
      replicas: board.replicas(),
      furtherTrust: certificates.furtherTrust,
      trustSecret,
    };
  }

  #warnings(cas: CaParts, assessment: Assessment): string[] {
    const { certificates } = this.#components;
    const isBehind = certificates.current().ca.sha256 !== cas.roles.issuing.certificate.sha256;
    const problem = certificates.status().problem ?? 'the hub certificate is about to be issued anew';
    return [
      ...(isBehind ? [`this replica does not issue from the CA of this phase yet: ${problem}`] : []),
      ...this.#bridgeWarnings(cas, assessment),
    ];
  }

  #bridgeWarnings({ rollover, roles }: CaParts, { nodes }: Assessment): string[] {
    const [bridge] = bridgesFrom(roles.issuing.x509, roles.bridges, this.#components.clock.now());
    const side = rollover.phase === 'active' || rollover.phase === 'retiring' ? 'new' : 'old';
    if (!bridge || rollover.phase === 'idle') return [];
    const bridged = nodes.filter(({ trusts }) => !trusts.includes(side)).length;
    if (bridged === 0) return [];
    const until = bridge.validToDate.toISOString().slice(0, 10);
    return [
      `${bridged} of ${nodes.length} nodes know only the other CA; they verify the hub by its signature until ${until}, and have to join again before`,
    ];
  }

  #serially<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task);
    this.#tail = result.catch(() => {});
    return result;
  }
}

function describeCa({ sha256, subject, notAfter }: CaCertificate): RolloverCa {
  return { sha256, subject, notAfter: notAfter.toISOString() };
}
