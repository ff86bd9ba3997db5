import type { KnownReplica } from '../../contracts/replica-board.ts';
import type { ReplicaReceipt, Revocation } from '../../contracts/revocations.ts';
import type { RevocationEntry } from './revocation-list.ts';

const iso = (ms: number) => new Date(ms).toISOString();

/** An entry as the admin API shows it. */
export function toRevocation(entry: RevocationEntry): Revocation {
  const { version, target, reason, at, by, note, certificates, rejoinedBefore } = entry;
  return {
    id: `r${version}`,
    ...('node' in target ? { kind: 'node', node: target.node } : { kind: 'certificate', ...target }),
    reason,
    at: iso(at),
    by,
    ...(note === undefined ? {} : { note }),
    version,
    ...(certificates.length > 0 ? { certificates } : {}),
    ...(rejoinedBefore === undefined ? {} : { rejoinedBefore: iso(rejoinedBefore) }),
  };
}

/** @param id only the sessions closed because of this entry, when given */
export function toReplicaReceipt(
  { replica, revocation: { version, appliedAt }, aliveAt, alive, closed }: KnownReplica,
  id: string | undefined,
): ReplicaReceipt {
  return {
    replica,
    version,
    appliedAt: iso(appliedAt),
    aliveAt: iso(aliveAt),
    alive,
    closed: id === undefined ? closed : closed.filter(({ revocation }) => revocation === id),
  };
}
