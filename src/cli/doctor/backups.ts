import { shortDuration } from '../output.ts';
import { type Finding, ok, skipped, warning } from './finding.ts';
import { type Patient, secretOf, secretSettings } from './patient.ts';
import { storedIssuer } from './stored-cas.ts';

const DAY_MS = 86_400_000;
/** A CA of today may have its first backup tomorrow. */
const NEW_CA_MS = DAY_MS;
const OLD_BACKUP_MS = 30 * DAY_MS;
/** Where `sallyport backup create` leaves its record when no setting names another Secret. */
const DEFAULT_SECRET = 'sallyport-backup';
const FIELD = 'last-backup.json';

interface Last {
  readonly at: string;
  readonly caSha256: readonly string[];
}

/** When the CA was last backed up, by the record that `backup create` leaves; there is no other proof. */
export async function checkBackup(patient: Patient): Promise<Finding[]> {
  const { clock } = patient;
  const ca = storedIssuer(patient);
  if (!ca) return [skipped('backup', 'backup', 'there is no CA to back up')];
  const last = await lastBackup(patient);
  const hint = '`sallyport backup create --out FILE`, and keep FILE away from this machine';
  if (!last) {
    if (clock.now() - ca.notBefore.getTime() < NEW_CA_MS + patient.config.certificates.backdateMs)
      return [skipped('backup', 'no backup recorded', 'the CA is new; make one today')];
    return [
      warning('backup', 'no backup recorded', {
        detail: 'a lost CA cuts off the whole fleet: every node would have to join again',
        hint,
      }),
    ];
  }
  const ageMs = clock.now() - Date.parse(last.at);
  const holds = `it holds the keys of ${last.caSha256.map((one) => `${one.slice(0, 16)}…`).join(', ') || 'no CA'}`;
  if (!last.caSha256.includes(ca.sha256))
    return [
      warning('backup', 'the CA that issues now is not in the last backup', {
        detail: `it is ${ca.sha256.slice(0, 16)}…; the backup was made ${shortDuration(ageMs)} ago, and ${holds}`,
        hint,
      }),
    ];
  if (ageMs > OLD_BACKUP_MS)
    return [
      warning('backup', `the last backup is ${shortDuration(ageMs)} old`, {
        detail: 'revocations since then would be forgotten by a restore',
        hint,
      }),
    ];
  return [ok('backup', `the last backup is ${shortDuration(ageMs)} old, and holds the CA in use`, holds)];
}

/** The gateway's word, else the record itself. Undefined also when nobody may read it. */
async function lastBackup(patient: Patient): Promise<Last | undefined> {
  const { config, gateway, store } = patient;
  if (gateway.up) {
    const answer = await gateway.admin.get<{ last?: Last }>('/api/v1/backup').catch(() => undefined);
    if (answer) return answer.last;
  }
  const setting = secretSettings(config).find((one) => one.setting === 'certificates.backupSecret');
  const name = setting?.name ?? DEFAULT_SECRET;
  const known = secretOf(patient, name) ?? (await store.get(name).catch(() => undefined));
  try {
    const { at, caSha256 } = JSON.parse(
      Buffer.from(known?.data[FIELD] ?? []).toString('utf8'),
    ) as Partial<Last>;
    return typeof at === 'string' && Array.isArray(caSha256) && !Number.isNaN(Date.parse(at))
      ? { at, caSha256 }
      : undefined;
  } catch {
    return undefined;
  }
}
