import type { RolloverNode, RolloverNodeCounts, RolloverSide } from '../../contracts/ca-rollover.ts';
import { ago } from '../../identity/since.ts';
import { SDK_AGENT, trustedByAgent } from '../../protocol/agent.ts';
import type { CaParts } from '../ca/ca-roles.ts';
import { sha256Hex } from '../x509/certificate-signer.ts';

/** What is known of one node. Times in milliseconds since the epoch. */
export interface NodeEvidence {
  readonly node: string;
  readonly serial: string;
  /** SHA-256 of the DER of the CA that issued its certificate. */
  readonly issuerSha256: string;
  readonly notAfter: number;
  /** Undefined when it never connected. */
  readonly lastSeen?: number;
  /** When it last joined with a token; it may be known for longer. */
  readonly joinedAt?: number;
  readonly connected: boolean;
  /** What it calls itself; SDKs say there which CAs they trust. */
  readonly agent?: string;
  /** It is shut out anyway. */
  readonly revoked?: boolean;
}

export interface Assessment {
  readonly counts: RolloverNodeCounts;
  /** Nodes that do not verify the hub with the CA that issues. */
  readonly bridged: number;
  /** At most so many: first those that depend on the CA that does not issue, each side by name. */
  items(limit: number): readonly RolloverNode[];
}

/** A node before anything is written about it: there may be 100,000. */
interface Judged {
  readonly one: NodeEvidence;
  readonly issuedBy: RolloverSide;
  readonly dependent: boolean;
}

/**
 * Replicas tell each other once an hour that a connected node is still here; a shorter absence is none.
 * Milliseconds.
 */
const RECENT_MS = 2 * 3_600_000;
/** Nodes that a summary names. */
const NAMED = 3;

/** SHA-256 of the CAs. */
type Sides = Readonly<Partial<Record<Exclude<RolloverSide, 'other'>, string>>>;

/** The two CAs; in `idle` there is one. */
export function sidesOf({ own, rollover }: CaParts): Sides {
  const { pair } = rollover;
  if (!pair) return { current: own.certificate.sha256 };
  return { old: sha256Hex(pair.old.raw), new: pair.next.certificate.sha256 };
}

/**
 * The CA that is trusted and does not issue: who has a certificate of it depends on that. Undefined when
 * there is none to depend on.
 */
export function leavingSide({ rollover: { phase, wasActive } }: CaParts): 'old' | 'new' | undefined {
  if (phase === 'active' || phase === 'retiring') return 'old';
  return phase === 'prepared' && wasActive ? 'new' : undefined;
}

/**
 * Holds what is known of the nodes against the CAs. Pure. @param graceMs how long an expired certificate may
 * still be renewed
 */
export function assessNodes(
  cas: CaParts,
  evidence: readonly NodeEvidence[],
  { now, graceMs }: { now: number; graceMs: number },
): Assessment {
  const leaving = leavingSide(cas);
  const sides = sidesOf(cas);
  const activatedAt = activationOf(cas);
  // What can neither connect nor renew any more loses nothing with its CA.
  const known = evidence.filter(({ notAfter, revoked }) => !revoked && now < notAfter + graceMs);
  const counts = { total: known.length, current: 0, old: 0, new: 0, other: 0, dependent: 0 };
  const issuing = sides.current ? 'current' : leaving === 'old' ? 'new' : 'old';
  let bridged = 0;
  const trustsOf = ({ one, issuedBy }: Judged): readonly RolloverSide[] =>
    trustedByAgent(one.agent)?.map((sha256) => sideOf(sha256, sides)) ?? [
      joinedWith(one, { issuedBy, activatedAt }),
    ];
  const judged = known.map((one): Judged => {
    const issuedBy = sideOf(one.issuerSha256, sides);
    const node = { one, issuedBy, dependent: leaving !== undefined && issuedBy === leaving };
    counts[issuedBy] += 1;
    if (node.dependent) counts.dependent += 1;
    if (!trustsOf(node).includes(issuing)) bridged += 1;
    return node;
  });
  let isSorted = false;
  const items = (limit: number) => {
    if (!isSorted)
      judged.sort((a, b) => Number(b.dependent) - Number(a.dependent) || (a.one.node < b.one.node ? -1 : 1));
    isSorted = true;
    return judged.slice(0, limit).map((node): RolloverNode => {
      const { one, issuedBy, dependent } = node;
      return {
        node: one.node,
        issuedBy,
        trusts: [...new Set(trustsOf(node))],
        trustsFrom: trustedByAgent(one.agent) ? 'reported' : 'inferred',
        serial: one.serial,
        notAfter: new Date(one.notAfter).toISOString(),
        connected: one.connected,
        ...(one.lastSeen === undefined ? {} : { lastSeen: new Date(one.lastSeen).toISOString() }),
        dependent,
        ...(dependent ? { note: noteOf(one, now) } : {}),
      };
    });
  };
  return { counts, bridged, items };
}

/** One line for a person. */
export function summarize({ rollover: { phase } }: CaParts, assessment: Assessment): string {
  const { counts } = assessment;
  const rest = describeDependents(assessment);
  const tail = rest === '' ? '' : `; ${rest}`;
  switch (phase) {
    case 'idle':
      return 'no rollover is under way';
    case 'prepared':
      return counts.new > 0
        ? `${counts.total - counts.new} of ${counts.total} nodes have a certificate of the old CA${tail}`
        : `the new CA is trusted and issues nothing yet; ${counts.total} nodes are known`;
    case 'active':
    case 'retiring':
      return `${counts.new} of ${counts.total} nodes have a certificate of the new CA${tail}`;
    case 'revoking':
      return 'the old CA is trusted no longer; the new one is being stored as the CA';
  }
}

/** `edge-12 offline for 9d, edge-13 connected and 4 more`; empty when nobody depends on anything. */
export function describeDependents({ counts: { dependent }, items }: Assessment): string {
  const named = items(Math.min(NAMED, dependent)).map(({ node, note }) => `${node} ${note}`);
  const more = dependent - named.length;
  return named.join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function sideOf(sha256: string, sides: Sides): RolloverSide {
  const is = (side: string | undefined) => sha256 !== '' && side?.startsWith(sha256) === true;
  return (['current', 'old', 'new'] as const).find((side) => is(sides[side])) ?? 'other';
}

/** When the CA that replaces, or has replaced, another one began to issue; undefined when there is none. */
function activationOf({ own, rollover: { phase, steps, last } }: CaParts): number | undefined {
  if (phase === 'idle' && last?.to !== own.certificate.sha256) return undefined;
  return Date.parse(steps.findLast(({ step }) => step === 'activate')?.at ?? '');
}

/** A node without our SDK keeps the CA it joined with, whatever it renews. */
function joinedWith(
  { joinedAt }: NodeEvidence,
  { issuedBy, activatedAt }: { issuedBy: RolloverSide; activatedAt: number | undefined },
): RolloverSide {
  const joinedLater = activatedAt !== undefined && joinedAt !== undefined && joinedAt >= activatedAt;
  switch (issuedBy) {
    case 'current':
      return activatedAt === undefined || joinedLater ? 'current' : 'other';
    case 'new':
      return joinedLater ? 'new' : 'old';
    default:
      return issuedBy;
  }
}

function noteOf({ connected, lastSeen, notAfter, agent }: NodeEvidence, now: number): string {
  if (!connected) {
    if (lastSeen === undefined) return 'never connected';
    // It may well be connected to another replica, which tells only every few minutes.
    const what = now - lastSeen < RECENT_MS ? 'last seen' : 'offline for';
    return `${what} ${ago(now - lastSeen)}${what === 'last seen' ? ' ago' : ''}`;
  }
  if (agent?.startsWith(SDK_AGENT)) return 'connected, to be asked to renew';
  return `connected, renews by itself before ${new Date(notAfter).toISOString().slice(0, 10)}`;
}
