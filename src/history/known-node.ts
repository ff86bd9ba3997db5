import type { KnownCertificate, NodeRecord } from '../contracts/node-history.ts';
import type { TransportName } from '../protocol/listener-names.ts';

/** What is kept of one node. Times in milliseconds since the epoch. */
export interface KnownNode {
  /** Of the last connection; the one issued last while it never connected. */
  readonly certificate: CertificateFacts;
  /** Issued since; it was not seen with it yet. */
  readonly issued?: CertificateFacts;
  readonly firstSeen: number;
  /** When it was last given a certificate for a token: it then takes the CA of that moment. */
  readonly joinedAt?: number;
  /** Undefined while it never connected. */
  readonly lastSeen?: number;
  readonly transport?: TransportName;
  readonly replica?: string;
  /** The run of the replica in which its session was open when this was stored; undefined after its end. */
  readonly openIn?: string;
  /** The longest ones, oldest first, none touching another. */
  readonly absences: readonly Absence[];
}

export interface CertificateFacts {
  readonly serial: string;
  readonly issuerSha256: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** From the end of one contact to the beginning of the next. */
export type Absence = readonly [from: number, to: number];

/**
 * Absences shorter than this are not kept: against the life of a certificate they do not matter, and another
 * replica's word of a last contact may be this old.
 */
export const SHORTEST_ABSENCE_MS = 2 * 3_600_000;
/** Over a year, so that what happens once in a season is not forgotten. */
const ABSENCE_MEMORY_MS = 400 * 86_400_000;
const MAX_ABSENCES = 6;

/** The node is here, with this certificate. */
export function seen(
  known: KnownNode | undefined,
  contact: {
    readonly certificate: CertificateFacts;
    readonly transport: TransportName;
    readonly replica: string;
    /** Undefined when the session has ended. */
    readonly openIn?: string | undefined;
    readonly at: number;
  },
): KnownNode {
  const { certificate, transport, replica, openIn, at } = contact;
  const absence: Absence[] =
    known?.lastSeen !== undefined && at - known.lastSeen >= SHORTEST_ABSENCE_MS ? [[known.lastSeen, at]] : [];
  return {
    certificate,
    ...newer(certificate, known?.issued),
    firstSeen: Math.min(known?.firstSeen ?? at, at),
    ...latestJoin(known),
    lastSeen: Math.max(known?.lastSeen ?? at, at),
    transport,
    replica,
    ...(openIn === undefined ? {} : { openIn }),
    absences: tidy([...(known?.absences ?? []), ...absence], at),
  };
}

/**
 * The node was given this certificate; it may never arrive.
 * @param joined for a token, and not for another certificate
 */
export function issuedTo(
  known: KnownNode | undefined,
  { certificate, joined, at }: { certificate: CertificateFacts; joined: boolean; at: number },
): KnownNode {
  const join = joined ? { joinedAt: at } : latestJoin(known);
  if (known?.lastSeen === undefined)
    return { certificate, firstSeen: Math.min(known?.firstSeen ?? at, at), ...join, absences: [] };
  return { ...known, issued: certificate, ...join };
}

/**
 * What two replicas know of one node, put together: the later contact decides, of both the newest
 * certificate, and every absence. The order does not matter.
 */
export function mergeKnown(a: KnownNode, b: KnownNode): KnownNode {
  const [later, other] = isLater(a, b) ? [a, b] : [b, a];
  // What the node was seen with before is over; what it was only issued, and by another replica, is still to
  // come.
  const unseen = other.lastSeen === undefined ? other.certificate : undefined;
  const candidates = [later.issued, other.issued, unseen].flatMap((one) => (one ? [one] : []));
  const newest = candidates.sort((one, two) => two.notBefore - one.notBefore)[0];
  const { issued: _, ...rest } = later;
  return {
    ...rest,
    ...newer(later.certificate, newest),
    firstSeen: Math.min(a.firstSeen, b.firstSeen),
    ...latestJoin(a, b),
    absences: tidy([...a.absences, ...b.absences], later.lastSeen ?? later.firstSeen),
  };
}

/**
 * With the last contact of a session that is stored as open: as long as its replica says that it is, which
 * takes one small write for all of them.
 * @param runs run → when it last said so
 */
export function heldOpen(known: KnownNode, runs: ReadonlyMap<string, number>): KnownNode {
  const at = known.openIn === undefined ? undefined : runs.get(known.openIn);
  return at !== undefined && known.lastSeen !== undefined && at > known.lastSeen
    ? { ...known, lastSeen: at }
    : known;
}

export function toRecord(node: string, known: KnownNode, connectedHere: boolean): NodeRecord {
  const { certificate, issued, firstSeen, joinedAt, lastSeen, transport, replica, absences } = known;
  return {
    node,
    certificate: toCertificate(certificate),
    ...(issued ? { issued: toCertificate(issued) } : {}),
    firstSeen: iso(firstSeen),
    ...(joinedAt === undefined ? {} : { joinedAt: iso(joinedAt) }),
    ...(lastSeen === undefined ? {} : { lastSeen: iso(lastSeen) }),
    connectedHere,
    ...(transport === undefined ? {} : { transport }),
    ...(replica === undefined ? {} : { replica }),
    absences: absences.map(([from, to]) => ({ from: iso(from), to: iso(to) })),
  };
}

export function toCertificate({
  serial,
  issuerSha256,
  notBefore,
  notAfter,
}: CertificateFacts): KnownCertificate {
  return { serial, issuerSha256, notBefore: iso(notBefore), notAfter: iso(notAfter) };
}

export const iso = (ms: number) => new Date(ms).toISOString();

/**
 * Of the same moment, who was seen with what was only issued to the other is the later one: `notBefore` may
 * be set back, or not.
 */
function isLater(a: KnownNode, b: KnownNode): boolean {
  const difference = (a.lastSeen ?? 0) - (b.lastSeen ?? 0);
  if (difference !== 0) return difference > 0;
  if (a.issued && a.issued.serial === b.certificate.serial) return false;
  if (b.issued && b.issued.serial === a.certificate.serial) return true;
  // The end of a session comes after whatever else happened in that moment.
  if ((a.openIn === undefined) !== (b.openIn === undefined)) return a.openIn === undefined;
  return a.certificate.notBefore >= b.certificate.notBefore;
}

function latestJoin(...known: readonly (KnownNode | undefined)[]): { joinedAt?: number } {
  const times = known.flatMap((one) => one?.joinedAt ?? []);
  return times.length === 0 ? {} : { joinedAt: Math.max(...times) };
}

/** A certificate that began earlier, or is the same, was issued in vain or seen already. */
function newer(seen: CertificateFacts, issued: CertificateFacts | undefined): { issued?: CertificateFacts } {
  return issued && issued.serial !== seen.serial && issued.notBefore > seen.notBefore ? { issued } : {};
}

/** Two replicas may tell of one absence; the node was away only as long as both say. */
function tidy(absences: readonly Absence[], now: number): Absence[] {
  const apart: Absence[] = [];
  for (const [from, to] of [...absences].sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    const last = apart.at(-1);
    if (last && from < last[1]) apart[apart.length - 1] = [from, Math.min(to, last[1])];
    else apart.push([from, to]);
  }
  return apart
    .filter(([from, to]) => to - from >= SHORTEST_ABSENCE_MS && now - to < ABSENCE_MEMORY_MS)
    .sort((a, b) => b[1] - b[0] - (a[1] - a[0]))
    .slice(0, MAX_ABSENCES)
    .sort((a, b) => a[0] - b[0]);
}
