import type { X509Certificate } from 'node:crypto';
import type { RolloverPhase, RolloverStep, RolloverStepRecord } from '../../contracts/ca-rollover.ts';
import type { CertificateAuthority } from './certificate-authority.ts';

/** The two CAs of a rollover, and each as the other has signed it. */
export interface RolloverPair {
  readonly old: X509Certificate;
  /** With its key. */
  readonly next: CertificateAuthority;
  /**
   * The new CA signed by the old one: nodes that know only the old one verify with it what the new one
   * issued.
   */
  readonly cross: X509Certificate;
  /** The old CA signed by the new one: the same the other way round, for the way back. */
  readonly back: X509Certificate;
}

/** What one replica of 0.1 told the others, or is told by this one; those of today have the board. */
export interface RolloverReceipt {
  readonly replica: string;
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** All that replicas have to agree about. Immutable; every change is one write of one Secret. */
export interface RolloverState {
  /** Grows with every step, never with a receipt. */
  readonly version: number;
  readonly phase: RolloverPhase;
  /** Undefined in `idle` alone. */
  readonly pair?: RolloverPair;
  /** The new CA has issued since it was made: certificates of it are out there. */
  readonly wasActive: boolean;
  /** Nodes on the CA that does not issue are asked to renew. */
  readonly asking: boolean;
  /** CAs signed by CAs that are trusted no longer: nodes that know only those go on verifying the hub. */
  readonly bridges: readonly X509Certificate[];
  /** The last rollover that was completed, SHA-256 of the CAs. */
  readonly last?: { readonly from: string; readonly to: string };
  readonly steps: readonly RolloverStepRecord[];
  /** Run → what it told, since the latest step. */
  readonly receipts: ReadonlyMap<string, RolloverReceipt>;
}

export const NO_ROLLOVER: RolloverState = {
  version: 0,
  phase: 'idle',
  wasActive: false,
  asking: false,
  bridges: [],
  steps: [],
  receipts: new Map(),
};

/** Steps that are remembered. */
const MAX_STEPS = 20;

/** Phase → step → the phase after it. What is not here cannot be done. */
const NEXT: Readonly<Record<RolloverPhase, Partial<Readonly<Record<RolloverStep, RolloverPhase>>>>> = {
  idle: { prepare: 'prepared' },
  prepared: { activate: 'active', abort: 'idle' },
  active: { retire: 'retiring', abort: 'prepared' },
  retiring: { revoke: 'revoking', abort: 'active' },
  revoking: {},
};

/** Where the step leads, undefined when it cannot be done now. */
export function phaseAfter(phase: RolloverPhase, step: RolloverStep): RolloverPhase | undefined {
  return NEXT[phase][step];
}

/** The steps that can be done in the phase. */
export function stepsIn(phase: RolloverPhase): RolloverStep[] {
  return Object.keys(NEXT[phase]) as RolloverStep[];
}

/** True when the state is already what the step brings about: it was done before, by whoever it was. */
export function isDone({ phase, last, version }: RolloverState, step: RolloverStep): boolean {
  if (step === 'revoke')
    return phase === 'revoking' || (phase === 'idle' && last !== undefined && version > 0);
  if (step === 'abort') return false;
  return phase === { prepare: 'prepared', activate: 'active', retire: 'retiring' }[step];
}

/** The state after a step. @param record who did it; the step leads from the present phase to `phase` */
export function afterStep(
  state: RolloverState,
  { phase, record, pair }: { phase: RolloverPhase; record: RolloverStepRecord; pair?: RolloverPair },
): RolloverState {
  const { pair: present, last, ...rest } = state;
  const kept = pair ?? present;
  const next: RolloverState = {
    ...rest,
    version: state.version + 1,
    phase,
    wasActive: phase === 'active' || (phase !== 'idle' && record.step !== 'prepare' && state.wasActive),
    // On the way back those who have got the new CA's certificates are asked, on the way forward the others.
    receipts: new Map(),
    asking: phase === 'retiring' || phase === 'revoking' || (phase === 'prepared' && record.step === 'abort'),
    steps: [...state.steps, record].slice(-MAX_STEPS),
    ...(last ? { last } : {}),
  };
  if (phase !== 'idle') return { ...next, ...(kept ? { pair: kept } : {}) };
  // Taken back: nodes that joined with the new CA know only that one.
  return state.wasActive && kept ? { ...next, bridges: [kept.back, ...state.bridges] } : next;
}

export function isSameRollover(a: RolloverState, b: RolloverState): boolean {
  if (a.version !== b.version || a.asking !== b.asking || a.receipts.size !== b.receipts.size) return false;
  return [...a.receipts].every(([run, { version }]) => b.receipts.get(run)?.version === version);
}

/** Nodes are asked to renew before `retire` is done; no step, so the version stays. */
export function nowAsking(state: RolloverState): RolloverState {
  return state.asking ? state : { ...state, asking: true };
}

/**
 * The end of `revoking`: the CA Secret holds the new CA, and nothing of the old one is left but its
 * signature.
 */
export function completed(state: RolloverState, shas: { from: string; to: string }): RolloverState {
  const { pair, ...rest } = state;
  return {
    ...rest,
    version: state.version + 1,
    phase: 'idle',
    wasActive: false,
    asking: false,
    last: shas,
    receipts: new Map(),
    bridges: pair ? [pair.cross, ...state.bridges] : state.bridges,
  };
}
