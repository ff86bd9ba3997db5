import type { BackupRecord } from '../contracts/backups.ts';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import { isSallyportError, SallyportError } from '../core/errors.ts';

/** Where the record stands in its Secret. It holds nothing secret: a Secret is what the store can keep. */
export const RECORD_FIELD = 'last-backup.json';
const MAX_RACES = 10;

/** Undefined when no backup was ever recorded. @throws SECRET_MALFORMED, errors of the store */
export async function readBackupRecord(
  store: Pick<SecretStore, 'get'>,
  name: string,
  signal?: AbortSignal,
): Promise<BackupRecord | undefined> {
  const secret = await store.get(name, signal);
  return secret && decode(secret);
}

/** Leaves the record; one of a later backup stays. @throws errors of the store */
export async function writeBackupRecord(
  store: Pick<SecretStore, 'get' | 'create' | 'replace'>,
  name: string,
  record: BackupRecord,
): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(record));
  for (let race = 0; ; race++) {
    const stored = await store.get(name);
    if (stored && isLater(stored, record)) return;
    const data = { ...stored?.data, [RECORD_FIELD]: bytes };
    try {
      if (stored) await store.replace({ ...stored, data, version: stored.version! });
      else await store.create({ name, type: 'Opaque', data });
      return;
    } catch (error) {
      const lost = isSallyportError(error, 'SECRET_ALREADY_EXISTS', 'SECRET_CONFLICT', 'SECRET_NOT_FOUND');
      if (!lost || race >= MAX_RACES) throw error;
    }
  }
}

function isLater(stored: Secret, { at }: BackupRecord): boolean {
  try {
    return Date.parse(decode(stored).at) > Date.parse(at);
  } catch {
    return false; // what cannot be read is replaced
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
