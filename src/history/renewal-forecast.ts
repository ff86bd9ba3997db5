import type { ForecastVerdict, NodeForecast } from '../contracts/node-history.ts';
import { iso, type KnownNode, toCertificate } from './known-node.ts';

export interface ForecastContext {
  /** Milliseconds since the epoch, as all times here. */
  readonly now: number;
  /** How long after its end a certificate may be renewed once (`certificates.graceDays`). */
  readonly graceMs: number;
  readonly isConnected: boolean;
  readonly isRevoked: boolean;
}

/**
 * A node renews at 70–90 % of the life of its certificate (docs/operations.md, Rotation). One that is
 * connected past this does not renew.
 */
const RENEWED_BY = 0.93;

/**
 * Whether a node will be back while it can renew, going by its past: it stays away as long as it ever did.
 * One that is away for longer than that, or whose past is not known, is taken to stay away for as long again
 * as it has been away already.
 */
export function forecastNode(node: string, known: KnownNode, context: ForecastContext): NodeForecast {
  const { now, isConnected } = context;
  const { certificate, usualGapMs, overdue, nextContactBy, renewableUntil, verdict } = judge(known, context);
  return {
    node,
    certificate: toCertificate(certificate),
    ...(known.lastSeen === undefined ? {} : { lastSeen: iso(isConnected ? now : known.lastSeen) }),
    connectedHere: isConnected,
    ...(usualGapMs === undefined ? {} : { usualGapMs }),
    ...(nextContactBy === undefined ? {} : { nextContactBy: iso(nextContactBy) }),
    overdue,
    renewableUntil: iso(renewableUntil),
    verdict,
  };
}

export function verdictOf(known: KnownNode, context: ForecastContext): ForecastVerdict {
  return judge(known, context).verdict;
}

function judge(known: KnownNode, context: ForecastContext) {
  const { now, graceMs, isConnected } = context;
  const certificate = known.issued ?? known.certificate;
  const gaps = known.absences.map(([from, to]) => to - from);
  const usualGapMs = gaps.length > 0 ? Math.max(...gaps) : undefined;
  const awaySince = known.lastSeen ?? known.firstSeen;
  const away = Math.max(0, now - awaySince);
  const overdue = !isConnected && away > (usualGapMs ?? 0);
  const nextContactBy = isConnected ? undefined : overdue ? now + away : awaySince + (usualGapMs ?? 0);
  const renewableUntil = certificate.notAfter + graceMs;
  const verdict = decide({ ...certificate, nextContactBy, renewableUntil }, context);
  return { certificate, usualGapMs, overdue, nextContactBy, renewableUntil, verdict };
}

function decide(
  {
    notBefore,
    notAfter,
    nextContactBy,
    renewableUntil,
  }: {
    notBefore: number;
    notAfter: number;
    nextContactBy: number | undefined;
    renewableUntil: number;
  },
  { now, isRevoked }: ForecastContext,
): ForecastVerdict {
  if (isRevoked) return 'revoked';
  if (now >= renewableUntil) return 'expired';
  if (nextContactBy === undefined)
    return now > notBefore + (notAfter - notBefore) * RENEWED_BY ? 'at-risk' : 'ok';
  if (nextContactBy < notAfter) return 'ok';
  return nextContactBy < renewableUntil ? 'renewable' : 'at-risk';
}
