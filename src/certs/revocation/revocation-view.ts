import type { ReplicaReceipt, Revocation } from '../../contracts/revocations.ts';
import type { RevocationEntry } from './revocation-list.ts';
import type { StoredReceipt } from './revocation-receipts.ts';

/** Heartbeats a replica may miss before it no longer counts as alive. */
const MISSED_HEARTBEATS = 2.5;

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

/** @param options.revocation only the sessions closed because of it, when given */
export function toReplicaReceipt(
  { replica, version, appliedAt, aliveAt, closed }: StoredReceipt,
  { now, aliveMs, revocation }: { now: number; aliveMs: number; revocation: string | undefined },
): ReplicaReceipt {
  return {
    replica,
    version,
    appliedAt: iso(appliedAt),
    aliveAt: iso(aliveAt),
    alive: now - aliveAt < aliveMs * MISSED_HEARTBEATS,
    closed: revocation === undefined ? closed : closed.filter((one) => one.revocation === revocation),
  };
}
