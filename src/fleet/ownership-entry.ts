import type { ClaimRequest, NodeOwner, ReplicaInfo } from '../contracts/node-ownership.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import { TRANSPORTS } from '../protocol/listener-names.ts';

/**
 * What the bucket holds for a node; about 150 bytes. Short names, because there are as many as nodes. The
 * epoch is the entry's revision.
 */
interface StoredOwner {
  /** Replica and its run. */
  readonly r: string;
  readonly u: string;
  /** Session and transport. */
  readonly s: string;
  readonly t: TransportName;
  /** When the session began. */
  readonly a: number;
  /** Changes between replicas in quick succession, and when the last was. */
  readonly c?: number;
  readonly m?: number;
}

export interface OwnershipEntry {
  readonly owner: NodeOwner;
  readonly changes: number;
  readonly changedAt: number;
}

export function encodeOwner(
  request: ClaimRequest,
  { replica, run }: ReplicaInfo,
  { changes, changedAt }: { changes: number; changedAt: number },
): string {
  const { sessionId, transport, since } = request;
  const stored: StoredOwner = { r: replica, u: run, s: sessionId, t: transport, a: since };
  return JSON.stringify(changes === 0 ? stored : { ...stored, c: changes, m: changedAt });
}

/** @returns undefined for what no replica has written: then the node counts as free */
export function decodeOwner(text: string, epoch: number): OwnershipEntry | undefined {
  try {
    const { r, u, s, t, a, c = 0, m = 0 } = JSON.parse(text) as Partial<StoredOwner>;
    if (typeof r !== 'string' || typeof u !== 'string' || typeof s !== 'string' || typeof a !== 'number')
      return undefined;
    if (t === undefined || !TRANSPORTS.includes(t)) return undefined;
    if (typeof c !== 'number' || typeof m !== 'number') return undefined;
    const owner = { replica: r, run: u, sessionId: s, transport: t, epoch, at: a };
    return { owner, changes: c, changedAt: m };
  } catch {
    return undefined;
  }
}
