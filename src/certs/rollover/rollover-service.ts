import type {
  CaRolloverAdmin,
  CaRolloverStatus,
  RolloverPhase,
  RolloverRequest,
} from '../../contracts/ca-rollover.ts';
import { backoffDelayMs } from '../../core/backoff.ts';
import type { Timer } from '../../core/clock.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import type { Component } from '../../core/lifecycle.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { CaRolloverComponents, CaRolloverOptions } from './rollover-components.ts';
import { leavingSide, sidesOf } from './rollover-nodes.ts';
import { rolloverStatus } from './rollover-status.ts';
import { RolloverSteps } from './rollover-steps.ts';

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
 * leads and none is needed: whoever lives follows, and ends what another began. The manager of the
 * certificates turns the state into trust and certificates; this decides whether a step may be done.
 */
export class CaRolloverService implements CaRolloverAdmin, Component {
  readonly name = 'CA rollover';
  readonly #components: CaRolloverComponents;
  readonly #steps: RolloverSteps;
  #timer: Timer | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #following: readonly Unsubscribe[] = [];
  #stopped = false;
  /** The end of the queue of writes of this process. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(components: CaRolloverComponents, options: () => CaRolloverOptions) {
    this.#components = components;
    this.#steps = new RolloverSteps(components, options);
  }

  async start(): Promise<void> {
    const { current, clock } = this.#components;
    this.#following = [
      current.onRollover(() => this.#follow()),
      // Only then new certificates come from the CA of the phase, and it makes sense to ask for one.
      current.onChange(() => this.#repeat()),
    ];
    this.#timer = clock.setInterval(() => this.#repeat(), REPEAT_MS);
    this.#follow();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#following) unsubscribe();
    this.#timer?.cancel();
    this.#retry?.cancel();
    await this.#tail;
  }

  status({ limit = DEFAULT_LIMIT }: { limit?: number } = {}): CaRolloverStatus {
    const { current, manager, clock } = this.#components;
    return rolloverStatus(this.#steps.evidence(), {
      now: clock.now(),
      issuesFrom: current.current().ca.sha256,
      problem: manager.status().problem,
      limit,
    });
  }

  async step({ step, force = false, by }: RolloverRequest): Promise<CaRolloverStatus> {
    const { metrics } = this.#components;
    const request = { step, force, by: by.slice(0, MAX_NAME) };
    try {
      const done = await this.#serially(() => this.#steps.take(request));
      metrics.rolloverSteps.inc({ step, result: done ? 'done' : 'unchanged' });
    } catch (error) {
      metrics.rolloverSteps.inc({ step, result: isSallyportError(error) ? 'refused' : 'failed' });
      throw error;
    }
    return this.status();
  }

  // — following —

  #follow(): void {
    const { current, metrics, board } = this.#components;
    const { phase, version } = current.cas.rollover;
    board.note({ rollover: version });
    for (const one of PHASES) metrics.rolloverPhase.set({ phase: one }, one === phase ? 1 : 0);
    this.#repeat();
    void this.#serially(() => this.#catchUp()).catch(() => {});
  }

  /** Says that it knows the state, and ends what another replica began and did not live to end. */
  async #catchUp(): Promise<void> {
    const { current, clock, log } = this.#components;
    this.#retry?.cancel();
    if (this.#stopped || current.cas.rollover.phase === 'idle') return;
    try {
      if (current.cas.rollover.phase === 'revoking') await this.#steps.finish();
      await this.#steps.acknowledge();
      this.#failures = 0;
    } catch (error) {
      if (this.#stopped) return;
      log.warn({ problem: describeError(error) }, 'the CA rollover cannot be followed up yet; trying again');
      const delayMs = backoffDelayMs(this.#failures++, RETRY);
      this.#retry = clock.setTimeout(() => this.#follow(), delayMs);
    }
  }

  #repeat(): void {
    const { current, metrics, ask, log } = this.#components;
    const { cas } = current;
    const counts = cas.rollover.phase === 'idle' ? NOBODY : this.#steps.evidence().assessment.counts;
    metrics.rolloverDependent.set(counts.dependent);
    for (const ca of ['old', 'new', 'other'] as const) metrics.rolloverNodes.set({ ca }, counts[ca]);
    const leaving = leavingSide(cas);
    const issues = current.current().ca.sha256 === cas.roles.issuing.certificate.sha256;
    if (!cas.rollover.asking || !leaving || !issues) return;
    const asked = ask(sidesOf(cas)[leaving]!);
    if (asked > 0) log.info({ nodes: asked }, 'asked nodes to renew their certificate');
  }

  #serially<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task);
    this.#tail = result.catch(() => {});
    return result;
  }
}
