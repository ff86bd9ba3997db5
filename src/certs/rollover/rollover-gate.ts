import type { X509Certificate } from 'node:crypto';
import type { RolloverReplica, RolloverStep } from '../../contracts/ca-rollover.ts';
import type { ForgottenNodes } from '../../contracts/node-history.ts';
import type { KnownReplica } from '../../contracts/replica-board.ts';
import type { CaParts } from '../ca/ca-roles.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';
import { describeForgotten } from './describe-forgotten.ts';
import type { Assessment } from './rollover-nodes.ts';
import { describeDependents } from './rollover-nodes.ts';

/** What decides about a step. */
export interface StepEvidence {
  readonly cas: CaParts;
  readonly assessment: Assessment;
  readonly forgotten: ForgottenNodes | undefined;
  readonly replicas: readonly KnownReplica[];
  /** The CAs of the trust Secret. */
  readonly furtherTrust: readonly X509Certificate[];
  readonly trustSecret: string;
}

/**
 * Why the step had better not be done now; empty when nothing speaks against it. `force` overrides every one.
 */
export function blockersOf(step: RolloverStep, evidence: StepEvidence): string[] {
  switch (step) {
    case 'prepare':
      return [];
    case 'activate':
      return lateReplicas(evidence);
    case 'retire':
      return [...dependents(evidence), ...unknownNodes(evidence)];
    case 'revoke':
      return [
        ...lateReplicas(evidence),
        ...dependents(evidence),
        ...unknownNodes(evidence),
        ...stillTrusted(evidence),
      ];
    case 'abort':
      // Back from `active` both stay trusted. Only the last step back drops the new one, and whoever has a
      // certificate of it.
      if (evidence.cas.rollover.phase !== 'prepared') return [];
      return [...dependents(evidence), ...(evidence.cas.rollover.wasActive ? unknownNodes(evidence) : [])];
  }
}

/** Those that live, with the version each follows: as the board says, or a receipt of a replica of 0.1. */
export function replicasOf({ cas, replicas }: Pick<StepEvidence, 'cas' | 'replicas'>): RolloverReplica[] {
  const told = new Map([...cas.rollover.receipts.values()].map((one) => [one.replica, one.version]));
  return replicas
    .filter(({ alive }) => alive)
    .map(({ replica, rollover, aliveAt }) => ({
      replica,
      version: Math.max(rollover, told.get(replica) ?? 0),
      at: new Date(aliveAt).toISOString(),
    }));
}

/** A replica that does not know the step before would refuse what this one brings. */
function lateReplicas(evidence: StepEvidence): string[] {
  const late = replicasOf(evidence).filter(({ version }) => version !== evidence.cas.rollover.version);
  return late.length === 0
    ? []
    : [`not known yet by replica ${late.map(({ replica }) => replica).join(', ')}`];
}

function dependents({ cas, assessment }: StepEvidence): string[] {
  const { counts } = assessment;
  if (counts.dependent === 0) return [];
  const side = cas.rollover.phase === 'prepared' ? 'new' : 'old';
  const verb = counts.dependent === 1 ? 'nodes depends' : 'nodes depend';
  return [
    `${counts.dependent} of ${counts.total} ${verb} on the ${side} CA: ${describeDependents(assessment)}`,
  ];
}

/** Nobody can say which CA they depend on. */
function unknownNodes({ forgotten }: StepEvidence): string[] {
  if (!forgotten) return [];
  return [
    `${describeForgotten(forgotten)}, so nobody knows which CA they depend on; look after them and use --force, or wait until then`,
  ];
}

function stillTrusted({ cas, furtherTrust, trustSecret }: StepEvidence): string[] {
  const old = cas.rollover.pair && sha256Hex(cas.rollover.pair.old.raw);
  return furtherTrust.some((one) => sha256Hex(one.raw) === old)
    ? [`secret ${trustSecret} holds the old CA, so it would stay trusted; take it out first`]
    : [];
}
