import type { X509Certificate } from 'node:crypto';
import type { RolloverReplica, RolloverStep } from '../../contracts/ca-rollover.ts';
import type { CaParts } from '../ca/ca-roles.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';
import type { Assessment } from './rollover-nodes.ts';
import { describeDependents } from './rollover-nodes.ts';

/** What decides about a step. */
export interface StepEvidence {
  readonly cas: CaParts;
  readonly assessment: Assessment;
  /** Names of replicas that live. */
  readonly alive: readonly string[];
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
      return dependents(evidence);
    case 'revoke':
      return [...lateReplicas(evidence), ...dependents(evidence), ...stillTrusted(evidence)];
    case 'abort':
      // Back from `active` both stay trusted. Only the last step back drops the new one, and whoever has a
      // certificate of it.
      return evidence.cas.rollover.phase === 'prepared' ? dependents(evidence) : [];
  }
}

export function replicasOf({ rollover }: CaParts): RolloverReplica[] {
  return [...rollover.receipts.values()]
    .map(({ replica, version, at }) => ({ replica, version, at: new Date(at).toISOString() }))
    .sort((a, b) => a.replica.localeCompare(b.replica));
}

/** A replica that does not know the step before would refuse what this one brings. */
function lateReplicas({ cas, alive }: StepEvidence): string[] {
  const { version, receipts } = cas.rollover;
  const current = new Set(
    [...receipts.values()].filter((one) => one.version >= version).map((one) => one.replica),
  );
  const late = alive.filter((replica) => !current.has(replica));
  return late.length === 0 ? [] : [`not known yet by replica ${late.join(', ')}`];
}

function dependents({ cas, assessment: { counts, nodes } }: StepEvidence): string[] {
  if (counts.dependent === 0) return [];
  const side = cas.rollover.phase === 'prepared' ? 'new' : 'old';
  const verb = counts.dependent === 1 ? 'nodes depends' : 'nodes depend';
  return [`${counts.dependent} of ${counts.total} ${verb} on the ${side} CA: ${describeDependents(nodes)}`];
}

function stillTrusted({ cas, furtherTrust, trustSecret }: StepEvidence): string[] {
  const old = cas.rollover.pair && sha256Hex(cas.rollover.pair.old.raw);
  return furtherTrust.some((one) => sha256Hex(one.raw) === old)
    ? [`secret ${trustSecret} holds the old CA, so it would stay trusted; take it out first`]
    : [];
}
