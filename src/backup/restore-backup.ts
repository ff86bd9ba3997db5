import type { Secret, SecretSnapshot, SecretStore } from '../contracts/secret-store.ts';
import { systemClock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { SharedRecord } from '../core/shared-record.ts';
import type { Backup } from './backup-content.ts';
import type { BackupName } from './backup-names.ts';
import { placeSecrets, type RestorePlan } from './restore-plan.ts';

type Store = Pick<SecretStore, 'get' | 'create' | 'replace'>;

/**
 * What is in the store of that which the backup would write.
 * @throws errors of the store, SECRET_MALFORMED for a Secret that is no manifest: whoever wants to lose it
 * deletes it by hand
 */
export async function readLiving(
  store: Pick<SecretStore, 'get'>,
  backup: Backup,
  names: readonly BackupName[],
): Promise<SecretSnapshot> {
  const entries = placeSecrets(backup, names).map(async ({ name }) => [name, await store.get(name)] as const);
  return new Map(await Promise.all(entries));
}

/**
 * Writes what the plan says, in its order, each Secret only if it is still what the plan was made for. Cut
 * short, it can be planned and run again.
 * @returns names of the Secrets that were written
 * @throws RESTORE_REFUSED when the plan needs `force` or somebody else wrote meanwhile, errors of the store
 */
export async function runRestore(store: Store, plan: RestorePlan): Promise<string[]> {
  if (plan.refused.length > 0)
    throw new SallyportError('RESTORE_REFUSED', { problem: plan.refused.join('; ') });
  const written: string[] = [];
  for (const { write } of plan.steps) {
    if (!write) continue;
    await writeOne(store, write, written);
    written.push(write.name);
  }
  return written;
}

/** Only onto the very version that the plan was made for. */
async function writeOne(store: Store, secret: Secret, written: readonly string[]): Promise<void> {
  const { name, type, version } = secret;
  const record = new SharedRecord<Pick<Secret, 'data' | 'version'> | undefined>(
    { store, clock: systemClock },
    {
      name,
      ...(type === undefined ? {} : { type }),
      codec: { decode: (stored) => ({ value: stored }), encode: (next) => next?.data ?? {} },
    },
  );
  await record.change((stored) => {
    if (stored?.version === version) return secret;
    const done = written.length === 0 ? '' : ` after ${written.join(', ')} had been written`;
    throw new SallyportError('RESTORE_REFUSED', {
      problem: `somebody else changed secret ${name} meanwhile${done}; is a gateway running?`,
    });
  });
}
