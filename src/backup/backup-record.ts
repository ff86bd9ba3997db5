import type { BackupRecord } from '../contracts/backups.ts';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { type RecordStore, SharedRecord } from '../core/shared-record.ts';

/** Where the record stands in its Secret. It holds nothing secret: a Secret is what the store can keep. */
export const RECORD_FIELD = 'last-backup.json';

/** Undefined when no backup was ever recorded. @throws SECRET_MALFORMED, errors of the store */
export async function readBackupRecord(
  store: Pick<SecretStore, 'get'>,
  name: string,
  signal?: AbortSignal,
): Promise<BackupRecord | undefined> {
  const secret = await store.get(name, signal);
  return secret && decode(secret);
}

/** Leaves the record; one of a later backup stays. @throws SECRET_BUSY, errors of the store */
export async function writeBackupRecord(
  { store, clock }: { store: RecordStore; clock: Clock },
  name: string,
  record: BackupRecord,
): Promise<void> {
  const shared = new SharedRecord<BackupRecord | undefined>(
    { store, clock },
    {
      name,
      codec: {
        decode: (secret) => ({ value: readable(secret) }),
        encode: (next, previous) => ({ ...previous, [RECORD_FIELD]: Buffer.from(JSON.stringify(next)) }),
      },
    },
  );
  await shared.change((last) => (last && Date.parse(last.at) > Date.parse(record.at) ? last : record));
}

/** What cannot be read is replaced. */
function readable(secret: Secret | undefined): BackupRecord | undefined {
  try {
    return secret && decode(secret);
  } catch {
    return undefined;
  }
}

function decode({ name, data }: Secret): BackupRecord {
  const wrong = () =>
    new SallyportError('SECRET_MALFORMED', {
      secret: name,
      problem: `${RECORD_FIELD} is not a record of a backup`,
    });
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(data[RECORD_FIELD] ?? []).toString('utf8'));
  } catch {
    throw wrong();
  }
  const { at, caSha256, revocationVersion } = (value ?? {}) as {
    readonly [K in keyof BackupRecord]?: unknown;
  };
  if (typeof at !== 'string' || Number.isNaN(Date.parse(at))) throw wrong();
  if (!Array.isArray(caSha256) || !caSha256.every((one) => typeof one === 'string')) throw wrong();
  if (!Number.isSafeInteger(revocationVersion)) throw wrong();
  return { at, caSha256, revocationVersion: revocationVersion as number };
}
