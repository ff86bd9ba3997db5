import type { ReplicaEntry } from '../contracts/replica-board.ts';
import type { ServedCertificate } from '../contracts/served-certificates.ts';
import { LISTENERS } from '../protocol/listener-names.ts';

/** Run → entry. */
export type Entries = ReadonlyMap<string, ReplicaEntry>;

/** Sessions a replica tells of; those of before are in its log. */
const MAX_CLOSED = 50;
const MAX_REPLICAS = 64;
/** A run that was not heard of for so long is forgotten, milliseconds. */
const FORGET_MS = 3_600_000;
/** A report in the format of 0.1 counts for so long: they were repeated every ten minutes, milliseconds. */
const SERVED_MS = 1_800_000;

/** As it stands on the board. */
export const encodeEntries = (entries: Entries, now: number): Uint8Array =>
  encode(entries, { now, maxBytes: 256 * 1024, shape: (entry) => entry });

/** What cannot be read is left out: whoever lives writes its own again. Never throws. */
export function decodeEntries(bytes: Uint8Array | undefined): Entries {
  return decode(bytes, (value) => {
    const { replica, aliveAt, revocation, closed, rollover, served } = fields(value);
    const { version, appliedAt } = fields(revocation);
    return typeof replica === 'string' && [version, appliedAt, aliveAt, rollover].every(isTime)
      ? ({
          ...fields(value),
          closed: list(closed).filter(isClosed),
          served: list(served).filter(isServed),
        } as object as ReplicaEntry)
      : undefined;
  });
}

// — the formats of 0.1 —

/** `receipts.json` in the Secret of the revocations, beside a list of up to 768 KiB. */
export const encodeReceipts = (entries: Entries, now: number): Uint8Array =>
  encode(entries, {
    now,
    maxBytes: 128 * 1024,
    shape: ({ replica, revocation, aliveAt, closed }) => ({ replica, ...revocation, aliveAt, closed }),
  });

export function decodeReceipts(bytes: Uint8Array | undefined): Entries {
  return decode(bytes, (value) => {
    const { replica, version, appliedAt, aliveAt, closed } = fields(value);
    if (typeof replica !== 'string' || ![version, appliedAt, aliveAt].every(isTime)) return undefined;
    const revocation = { version, appliedAt } as ReplicaEntry['revocation'];
    return {
      replica,
      aliveAt: aliveAt as number,
      revocation,
      closed: list(closed).filter(isClosed),
      rollover: 0,
      served: [],
    };
  });
}

/** `served.json` beside the board: what replicas of 0.1 serve. */
export function decodeServed(bytes: Uint8Array | undefined, now: number): readonly ServedCertificate[] {
  const reports = decode(bytes, (value) => {
    const { at, items } = fields(value);
    return isTime(at) && Math.abs(now - at) < SERVED_MS ? list(items).filter(isServed) : undefined;
  });
  return [...reports.values()].flat();
}

// — small things —

/** The very same when there is nothing to take away. */
export function without(entries: Entries, run: string): Entries {
  return entries.has(run) ? new Map([...entries].filter(([name]) => name !== run)) : entries;
}

/**
 * Bounded: the runs that were silent longest go first. Too large still, it leaves out closed sessions, oldest
 * first, and in the end what is served; never who lives and which versions it knows.
 */
function encode(
  entries: Entries,
  { now, maxBytes, shape }: { now: number; maxBytes: number; shape: (entry: ReplicaEntry) => object },
): Uint8Array {
  const kept = [...entries]
    .filter(([, { aliveAt }]) => now - aliveAt < FORGET_MS)
    .sort(([, a], [, b]) => b.aliveAt - a.aliveAt)
    .slice(0, MAX_REPLICAS);
  for (let most = MAX_CLOSED; ; most = Math.floor(most / 2)) {
    const cut = kept.map(([run, entry]) => {
      const rest = most > 0 ? { closed: entry.closed.slice(-most) } : { closed: [], served: [] };
      return [run, shape({ ...entry, ...rest })] as const;
    });
    const bytes = Buffer.from(JSON.stringify(Object.fromEntries(cut)));
    if (bytes.length <= maxBytes || most === 0) return bytes;
  }
}

function decode<T>(bytes: Uint8Array | undefined, read: (value: unknown) => T | undefined): Map<string, T> {
  const found = new Map<string, T>();
  try {
    for (const [run, value] of Object.entries(
      fields(JSON.parse(Buffer.from(bytes ?? '{}').toString('utf8'))),
    )) {
      const entry = read(value);
      if (entry !== undefined) found.set(run, entry);
    }
  } catch {
    // As if there were none.
  }
  return found;
}

const fields = (value: unknown) => (value ?? {}) as Readonly<Record<string, unknown>>;
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const isTime = (value: unknown): value is number =>
  Number.isInteger(value) && Math.abs(value as number) <= 8.64e15;
const isText = (value: unknown) => typeof value === 'string' && value.length <= 1_000;

function isClosed(value: unknown): value is ReplicaEntry['closed'][number] {
  const session = fields(value);
  return ['revocation', 'node', 'sessionId', 'transport', 'at'].every((key) => isText(session[key]));
}

function isServed(value: unknown): value is ServedCertificate {
  const one = fields(value);
  return (
    ['replica', 'wantedSha256', 'checkedAt'].every((key) => isText(one[key])) &&
    Object.hasOwn(LISTENERS, String(one.listener)) &&
    ['servedSha256', 'notAfter', 'problem'].every((key) => one[key] === undefined || isText(one[key]))
  );
}
