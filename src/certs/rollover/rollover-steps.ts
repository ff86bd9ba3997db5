import type { RolloverPhase, RolloverRequest, RolloverStep } from '../../contracts/ca-rollover.ts';
import { describeError, SallyportError } from '../../core/errors.ts';
import type { SharedRecord } from '../../core/shared-record.ts';
import {
  afterStep,
  isDone,
  nowAsking,
  phaseAfter,
  type RolloverPair,
  type RolloverState,
} from '../ca/rollover-state.ts';
import type { CaRolloverComponents, CaRolloverOptions } from './rollover-components.ts';
import { blockersOf, type StepEvidence } from './rollover-gate.ts';
import { assessNodes, sidesOf } from './rollover-nodes.ts';
import { finishRevoke, makePair, rolloverRecord } from './rollover-pair.ts';

/** A step on its way, and all that became known of it. After a lost race all but the pair is found anew. */
interface StepInHand {
  readonly request: Required<RolloverRequest>;
  /** Where it leads; undefined when it was done before. */
  way?: { readonly from: RolloverPhase; readonly to: RolloverPhase };
  blockers: string[];
  pair?: RolloverPair;
}

const DAY_MS = 86_400_000;

/** All that is written about a rollover: each step is one write of one Secret. */
export class RolloverSteps {
  readonly #components: CaRolloverComponents;
  readonly #options: () => CaRolloverOptions;
  readonly #record: SharedRecord<RolloverState>;

  constructor(components: CaRolloverComponents, options: () => CaRolloverOptions) {
    this.#components = components;
    this.#options = options;
    const { rolloverSecret } = options();
    this.#record = rolloverRecord(components, rolloverSecret, () => components.current.cas.rollover);
  }

  /** What decides about a step. */
  evidence(): StepEvidence {
    const { fleet, clock, current, board } = this.#components;
    const { graceDays, trustSecret } = this.#options();
    const { cas, furtherTrust } = current;
    return {
      cas,
      assessment: assessNodes(cas, fleet.nodes(), { now: clock.now(), graceMs: graceDays * DAY_MS }),
      forgotten: fleet.forgotten(),
      replicas: board.replicas(),
      furtherTrust,
      trustSecret,
    };
  }

  /**
   * Read, see whether it is possible, weigh the evidence, write, adopt, tell.
   * @returns false when it was done before
   * @throws ROLLOVER_PHASE, ROLLOVER_IMPOSSIBLE, ROLLOVER_BLOCKED, CA_INVALID, SECRET_MALFORMED, SECRET_BUSY
   */
  async take(request: Required<RolloverRequest>): Promise<boolean> {
    const { manager, board, fleet } = this.#components;
    const inHand: StepInHand = { request, blockers: [] };
    const { value, record, wrote } = await this.#record.change(async (state, secret) => {
      if (secret) await manager.adoptRollover(secret);
      delete inHand.way;
      if (isDone(state, request.step)) return state;
      this.#checkPossible(inHand, state);
      if (!request.force) await Promise.all([board.read(), fleet.recall()]);
      inHand.blockers = request.force ? [] : blockersOf(request.step, this.evidence());
      return this.#next(inHand, state);
    });
    if (record && wrote) await manager.adoptRollover(record);
    if (!inHand.way) return false;
    this.#checkBlocked(inHand);
    this.#tell(inHand, value);
    await this.#followUp(value);
    return true;
  }

  /** Says that this replica knows the state. What is stored and not known here yet is told once it is. */
  async acknowledge(): Promise<void> {
    const { board, current } = this.#components;
    const { version: known, receipts } = current.cas.rollover;
    await board.tell({ rollover: known });
    if (!this.#hasElders(receipts)) return;
    await this.#record.change((state, secret) => {
      if (!secret || state.phase === 'idle' || state.version !== known) return state;
      return state.receipts.get(board.run)?.version === known ? state : this.#withReceipt(state);
    });
  }

  /** Ends `revoking`. Any replica may do it, any number of times, from any point on. */
  async finish(): Promise<void> {
    const { manager, log } = this.#components;
    const secret = await finishRevoke(this.#components, this.#options());
    if (!secret) return;
    await manager.adoptRollover(secret);
    log.warn(
      { audit: 'ca-rollover', phase: 'idle' },
      'the new CA is stored as the CA; the rollover has ended',
    );
  }

  /** What no `force` helps against. */
  #checkPossible(inHand: StepInHand, { phase }: RolloverState): void {
    const { manager } = this.#components;
    const { hubSecret, caSecret } = this.#options();
    const { step } = inHand.request;
    const to = phaseAfter(phase, step);
    if (!to) throw new SallyportError('ROLLOVER_PHASE', { phase, step });
    inHand.way = { from: phase, to };
    if (!manager.caMatchesStore())
      throw new SallyportError('CA_INVALID', {
        secret: caSecret,
        problem: 'the CA in use is not the stored one',
      });
    if (manager.hubIsManaged || step === 'abort') return;
    const problem = `secret ${hubSecret} is kept by somebody else, so no hub certificate of the new CA can be issued`;
    throw new SallyportError('ROLLOVER_IMPOSSIBLE', { problem });
  }

  /** What is to be stored. */
  async #next(inHand: StepInHand, state: RolloverState): Promise<RolloverState> {
    const { clock, current } = this.#components;
    const { step, force, by } = inHand.request;
    // The very nodes that block `retire` are asked, here and on every replica, so that it can be done a
    // little later.
    if (inHand.blockers.length > 0) return step === 'retire' ? nowAsking(state) : state;
    if (step === 'prepare') inHand.pair ??= await makePair({ clock, own: current.cas.own }, this.#options());
    const at = new Date(clock.now()).toISOString();
    const record = { step, at, by, ...(force ? { forced: true as const } : {}) };
    const { pair } = inHand;
    return this.#withReceipt(afterStep(state, { phase: inHand.way!.to, record, ...(pair ? { pair } : {}) }));
  }

  #checkBlocked({ request: { step }, blockers }: StepInHand): void {
    if (blockers.length === 0) return;
    const asked: Partial<Record<RolloverStep, string>> = {
      retire: 'connected nodes with the SDK have been asked to renew',
    };
    const problem = [...blockers, ...(asked[step] ? [asked[step]] : [])].join('; ');
    throw new SallyportError('ROLLOVER_BLOCKED', { step, problem });
  }

  #tell({ request: { step, force, by }, way }: StepInHand, { version }: RolloverState): void {
    const { log, events, current } = this.#components;
    const { from, to: phase } = way!;
    const sides = sidesOf(current.cas);
    log.warn(
      { audit: 'ca-rollover', step, from, phase, by, forced: force, version, ...sides },
      'an administrator took a step of the CA rollover',
    );
    events?.record({
      reason: 'CaRollover',
      type: force || step === 'revoke' ? 'Warning' : 'Normal',
      secret: this.#options().rolloverSecret,
      message: `CA rollover: ${step}${force ? ' (forced)' : ''}, from ${from} to ${phase}, by ${by}`,
      deed: { by, facts: { step, from, phase, forced: force, version, ...sides } },
    });
  }

  /** A failure is no failure of the step: it is tried again until it succeeds. */
  async #followUp({ phase }: RolloverState): Promise<void> {
    const { manager, log } = this.#components;
    if (phase === 'revoking') await this.finish().catch(() => {});
    await manager.repairHub().catch((error) => {
      log.warn({ problem: describeError(error) }, 'the hub certificate of the other CA is issued later');
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
}
