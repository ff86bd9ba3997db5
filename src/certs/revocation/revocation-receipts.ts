import type { ClosedSession } from '../../contracts/revocations.ts';
import type { Secret } from '../../contracts/secret-store.ts';

/** Where the receipts stand in the Secret of the list. */
export const RECEIPTS_FIELD = 'receipts.json';
export const MAX_RECEIPT_BYTES = 128 * 1024;
/** Sessions a replica tells of; those of before are in its log. */
export const MAX_CLOSED = 50;
const MAX_REPLICAS = 64;
/** A replica that was not heard of for so long is forgotten, milliseconds. */
const FORGET_MS = 3_600_000;

/** What one run of a replica has seen and done. Times in milliseconds since the epoch. */
export interface StoredReceipt {
  readonly replica: string;
  readonly version: number;
  readonly appliedAt: number;
  readonly aliveAt: number;
  /** Newest last. */
  readonly closed: readonly ClosedSession[];
}

/** Name of a run → its receipt: after a crash a replica comes back under the same name. */
export type Receipts = ReadonlyMap<string, StoredReceipt>;

/** Bounded: the oldest sessions go first, then the replicas that were silent longest. */
export function encodeReceipts(receipts: Receipts, now: number): Uint8Array {
  let kept = [...receipts]
    .filter(([, { aliveAt }]) => now - aliveAt < FORGET_MS)
    .sort(([, a], [, b]) => b.aliveAt - a.aliveAt)
    .slice(0, MAX_REPLICAS);
  for (let closed = MAX_CLOSED; ; closed = Math.floor(closed / 2)) {
    kept = kept.map(([run, receipt]) => [
      run,
      { ...receipt, closed: closed === 0 ? [] : receipt.closed.slice(-closed) },
    ]);
    const bytes = Buffer.from(JSON.stringify(Object.fromEntries(kept)));
    if (bytes.length <= MAX_RECEIPT_BYTES || closed === 0) return bytes;
  }
}

/** Receipts decide nothing, so what cannot be read of them is left out. Never throws. */
export function decodeReceipts({ data }: Pick<Secret, 'data'>): Receipts {
  const receipts = new Map<string, StoredReceipt>();
  try {
    const stored: unknown = JSON.parse(Buffer.from(data[RECEIPTS_FIELD] ?? '{}').toString('utf8'));
    for (const [run, value] of Object.entries(stored ?? {})) if (isReceipt(value)) receipts.set(run, value);
  } catch {
    // As if there were none: every replica writes its own again.
  }
  return receipts;
}

function isReceipt(value: unknown): value is StoredReceipt {
  const { replica, version, appliedAt, aliveAt, closed } = (value ?? {}) as Record<string, unknown>;
  const isTime = (one: unknown) => Number.isInteger(one) && Math.abs(one as number) <= 8.64e15;
  return (
    typeof replica === 'string' &&
    [version, appliedAt, aliveAt].every(isTime) &&
    Array.isArray(closed) &&
    closed.every((one) =>
      ['revocation', 'node', 'sessionId', 'transport', 'at'].every(
        (key) => typeof (one as Record<string, unknown> | null)?.[key] === 'string',
      ),
    )
  );
}
