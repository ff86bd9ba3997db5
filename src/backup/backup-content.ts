import { Buffer } from 'node:buffer';
import type { Secret, SecretStore } from '../contracts/secret-store.ts';
import { SallyportError } from '../core/errors.ts';
import { assertSecretName, parseSecretManifest } from '../secrets/secret-manifest.ts';
import type { BackupName, BackupRole } from './backup-names.ts';
import { unreadable } from './unreadable.ts';

/** What a backup holds. Immutable. */
export interface Backup {
  /** ISO 8601. */
  readonly createdAt: string;
  /** Version of Sallyport that made it. */
  readonly version: string;
  /** Where the Secrets were. */
  readonly location: string;
  readonly secrets: readonly BackedUpSecret[];
  /** Secrets that were asked for and did not exist. */
  readonly missing: readonly BackupName[];
}

export interface BackedUpSecret {
  readonly role: BackupRole;
  readonly secret: Secret;
}

const FORMAT = 1;
const ROLES: readonly unknown[] = ['ca', 'trust', 'revocations', 'tokens', 'other'] satisfies BackupRole[];
/** Several Secrets are no transaction: they are read again until nothing changed in between. */
const MAX_READS = 10;

/** @throws BACKUP_INCOMPLETE without a CA or when the Secrets never stand still, errors of the store */
export async function readForBackup(
  store: Pick<SecretStore, 'get' | 'location'>,
  wish: { readonly names: readonly BackupName[]; readonly now: number; readonly version: string },
  signal?: AbortSignal,
): Promise<Backup> {
  const readAll = () =>
    Promise.all(
      wish.names.map(async ({ role, name }) => ({ role, name, secret: await store.get(name, signal) })),
    );
  let read = await readAll();
  for (let attempt = 0; ; attempt++) {
    const again = await readAll();
    const same = again.every(({ secret }, index) => secret?.version === read[index]!.secret?.version);
    read = again;
    if (same) break;
    if (attempt === MAX_READS)
      throw new SallyportError('BACKUP_INCOMPLETE', { problem: 'the Secrets change while they are read' });
  }
  const ca = read.find(({ role }) => role === 'ca');
  if (!ca?.secret)
    throw new SallyportError('BACKUP_INCOMPLETE', { problem: `there is no CA in secret ${ca?.name ?? ''}` });
  return {
    createdAt: new Date(wish.now).toISOString(),
    version: wish.version,
    location: store.location,
    secrets: read.flatMap(({ role, secret }) => (secret ? [{ role, secret }] : [])),
    missing: read.flatMap(({ role, name, secret }) => (secret ? [] : [{ role, name }])),
  };
}

export function findSecret(backup: Backup, role: BackupRole): Secret | undefined {
  return backup.secrets.find((one) => one.role === role)?.secret;
}

/**
 * A Kubernetes `List` of Secrets, so that whoever has only openssl and kubectl can put it back; what
 * Sallyport notes stands beside the items.
 */
export function encodeBackup({ secrets, ...about }: Backup): Uint8Array {
  const items = secrets.map(({ secret: { name, type = 'Opaque', data } }) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    type,
    data: Object.fromEntries(
      Object.entries(data).map(([key, bytes]) => [key, Buffer.from(bytes).toString('base64')]),
    ),
  }));
  const roles = Object.fromEntries(secrets.map(({ role, secret }) => [secret.name, role]));
  return Buffer.from(
    `${JSON.stringify({ apiVersion: 'v1', kind: 'List', sallyport: { format: FORMAT, ...about, roles }, items }, undefined, 1)}\n`,
  );
}

/** @throws BACKUP_UNREADABLE, SECRET_MALFORMED; neither quotes a value */
export function decodeBackup(bytes: Uint8Array): Backup {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw unreadable('what it holds is not JSON');
  }
  const { sallyport, items } = (value ?? {}) as { sallyport?: unknown; items?: unknown };
  const { format, createdAt, version, location, roles, missing } = (sallyport ?? {}) as {
    readonly [key: string]: unknown;
  };
  if (format !== FORMAT) throw unreadable(`it has not format ${FORMAT}; was it written by a newer version?`);
  if (!isText(createdAt) || Number.isNaN(Date.parse(createdAt)) || !isText(version) || !isText(location))
    throw unreadable('it does not say when, where and by what it was made');
  if (!Array.isArray(items) || !Array.isArray(missing) || !missing.every(isName) || !isRecord(roles))
    throw unreadable('its list of Secrets is damaged');
  const secrets = items.map((item: unknown) => {
    const name = isRecord(item) && isRecord(item.metadata) ? item.metadata.name : undefined;
    if (!isText(name)) throw unreadable('it holds a Secret without a name');
    assertSecretName(name);
    const role = roles[name];
    if (!isRole(role)) throw unreadable('it holds a Secret of an unknown kind');
    const { secret } = parseSecretManifest(Buffer.from(JSON.stringify(item)), { name, file: 'the backup' });
    return { role, secret };
  });
  if (!secrets.some(({ role }) => role === 'ca')) throw unreadable('it holds no CA');
  return { createdAt, version, location, secrets, missing };
}

const isText = (value: unknown): value is string => typeof value === 'string' && value.length <= 10_000;
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isRole = (value: unknown): value is BackupRole => ROLES.includes(value);
const isName = (value: unknown): value is BackupName =>
  isRecord(value) && isText(value.name) && isRole(value.role);
