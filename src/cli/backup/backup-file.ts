import { constants } from 'node:fs';
import { access, open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { describeError, SallyportError } from '../../core/errors.ts';
import { createWhole, replaceWhole } from '../../secrets/directory/secret-files.ts';

/** Far above what Secrets can hold together, bytes. */
const MAX_BYTES = 64 * 1024 * 1024;

/** Before anybody types a passphrase. @throws BACKUP_FILE_EXISTS */
export async function assertWritable(file: string, { force }: { force: boolean }): Promise<void> {
  const exists = await access(file, constants.F_OK).then(
    () => true,
    () => false,
  );
  if (exists && !force) throw new SallyportError('BACKUP_FILE_EXISTS', { file });
}

/** Whole or not at all, for its owner alone (0600). @throws BACKUP_FILE_EXISTS, BACKUP_FILE_UNUSABLE */
export async function writeBackupFile(
  file: string,
  text: string,
  { force }: { force: boolean },
): Promise<void> {
  const [folder, name, bytes] = [dirname(file), basename(file), Buffer.from(text)];
  try {
    if (force) await replaceWhole(folder, name, { bytes, beforeSwap: () => {} });
    else await createWhole(folder, name, bytes);
  } catch (cause) {
    throw (cause as NodeJS.ErrnoException).code === 'EEXIST'
      ? new SallyportError('BACKUP_FILE_EXISTS', { file }, cause)
      : new SallyportError('BACKUP_FILE_UNUSABLE', { file, problem: describeError(cause) }, cause);
  }
}

/** @throws BACKUP_FILE_UNUSABLE */
export async function readBackupFile(file: string): Promise<Buffer> {
  try {
    const handle = await open(file, 'r');
    try {
      const { size } = await handle.stat();
      if (size > MAX_BYTES) throw new Error('it is larger than any backup');
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw new SallyportError('BACKUP_FILE_UNUSABLE', { file, problem: describeError(cause) }, cause);
  }
}
