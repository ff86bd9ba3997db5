import type { CaRolloverStatus, RolloverCa } from '../../contracts/ca-rollover.ts';
import type { CaCertificate } from '../../contracts/certificate-source.ts';
import { bridgesFrom, type CaParts } from '../ca/ca-roles.ts';
import { stepsIn } from '../ca/rollover-state.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';
import { describeForgotten } from './describe-forgotten.ts';
import { blockersOf, replicasOf, type StepEvidence } from './rollover-gate.ts';
import { type Assessment, summarize } from './rollover-nodes.ts';

/** What is known around the evidence. */
export interface StatusContext {
  readonly now: number;
  /** SHA-256 of the CA that this replica issues from. */
  readonly issuesFrom: string;
  /** What keeps the hub certificate from being current. */
  readonly problem: string | undefined;
  /** Nodes to name at most. */
  readonly limit: number;
}

/** How the rollover stands, in the words of the admin API. Pure. */
export function rolloverStatus(evidence: StepEvidence, context: StatusContext): CaRolloverStatus {
  const { cas, assessment, forgotten } = evidence;
  const { rollover, roles } = cas;
  const [bridge] = bridgesFrom(roles.issuing.x509, roles.bridges, context.now);
  return {
    phase: rollover.phase,
    version: rollover.version,
    issuing: describeCa(roles.issuing.certificate),
    ...(rollover.pair
      ? {
          old: {
            sha256: sha256Hex(rollover.pair.old.raw),
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
    nodes: assessment.counts,
    summary: summarize(cas, assessment),
    next: stepsIn(rollover.phase).map((step) => ({ step, blockers: blockersOf(step, evidence) })),
    warnings: [
      ...behindWarnings(cas, context),
      ...bridgeWarnings(cas, assessment, context),
      ...(forgotten ? [describeForgotten(forgotten)] : []),
    ],
    items: assessment.items(context.limit),
  };
}

function behindWarnings({ roles }: CaParts, { issuesFrom, problem }: StatusContext): string[] {
  if (issuesFrom === roles.issuing.certificate.sha256) return [];
  const why = problem ?? 'the hub certificate is about to be issued anew';
  return [`this replica does not issue from the CA of this phase yet: ${why}`];
}

function bridgeWarnings(
  { rollover, roles }: CaParts,
  { counts, bridged }: Assessment,
  { now }: StatusContext,
): string[] {
  const [bridge] = bridgesFrom(roles.issuing.x509, roles.bridges, now);
  if (!bridge || rollover.phase === 'idle' || bridged === 0) return [];
  const until = bridge.validToDate.toISOString().slice(0, 10);
  return [
    `${bridged} of ${counts.total} nodes know only the other CA; they verify the hub by its signature until ${until}, and have to join again before`,
  ];
}

function describeCa({ sha256, subject, notAfter }: CaCertificate): RolloverCa {
  return { sha256, subject, notAfter: notAfter.toISOString() };
}
