import {
  type RevocationEntry,
  RevocationList,
  type SeenCertificate,
  targetKey,
} from '../certs/revocation/revocation-list.ts';

export interface MergedRevocations {
  readonly list: RevocationList;
  /** Targets that the living list did not shut out so firmly, such as `node edge-1`. */
  readonly shutOut: readonly string[];
}

/**
 * The union of the list in force and one of a backup: whoever either shuts out is out. What was lifted since
 * the backup is therefore shut out again and named in `shutOut`: that costs a `lift`, the opposite would let
 * a stolen node in. The version, and with it the CRL number, only grows.
 */
export function mergeRevocations(living: RevocationList, backup: RevocationList): MergedRevocations {
  const version = Math.max(living.version, backup.version) + 1;
  const merged = new Map(living.entries.map((entry) => [keyOf(entry), entry]));
  const shutOut: string[] = [];
  let changed = backup.version > living.version;
  for (const entry of backup.entries) {
    const present = merged.get(keyOf(entry));
    const chosen = present ? choose(present, entry) : entry;
    if (chosen === present) continue;
    changed = true;
    merged.set(keyOf(entry), { ...chosen, version });
    if (!present || strength(chosen) !== strength(present)) shutOut.push(targetKey(entry.target));
  }
  return { list: changed ? new RevocationList(version, [...merged.values()]) : living, shutOut };
}

/**
 * Of a list whose successors are lost: its version leaps ahead of every one they can have had, because nobody
 * decides more than once a second; CRLs published before the loss have lower numbers (RFC 5280 §5.2.3), and
 * replicas that still run take it for newer.
 */
export function leapAhead(backup: RevocationList, { sinceMs }: { sinceMs: number }): RevocationList {
  const leap = Math.max(0, Math.ceil(sinceMs / 1000)) + 1;
  return new RevocationList(backup.version + leap, backup.entries);
}

function choose(present: RevocationEntry, other: RevocationEntry): RevocationEntry {
  const isSameDecision = present.at === other.at && present.by === other.by;
  // Of one decision the later state: it was let rejoin since, or seen with more certificates.
  const stronger =
    isSameDecision && present.version !== other.version
      ? present.version > other.version
        ? present
        : other
      : strength(other) > strength(present)
        ? other
        : present;
  const certificates = unite(present.certificates, other.certificates);
  if (stronger === present && certificates.length === present.certificates.length) return present;
  return { ...stronger, certificates };
}

/**
 * Revoked over quarantined over let rejoin; of two that may rejoin, the one that keeps more certificates out.
 */
function strength({ reason, rejoinedBefore }: RevocationEntry): number {
  if (rejoinedBefore !== undefined) return rejoinedBefore / Number.MAX_SAFE_INTEGER;
  return reason === 'certificateHold' ? 1 : 2;
}

function unite(a: readonly SeenCertificate[], b: readonly SeenCertificate[]): readonly SeenCertificate[] {
  const more = b.filter(
    (one) =>
      !a.some(({ serial, issuerSha256 }) => serial === one.serial && issuerSha256 === one.issuerSha256),
  );
  return [...a, ...more];
}

const keyOf = ({ target }: RevocationEntry): string =>
  'node' in target ? targetKey(target) : `${targetKey(target)} of ${target.issuerSha256 ?? 'any'}`;
