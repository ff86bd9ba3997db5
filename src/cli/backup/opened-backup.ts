import { type Backup, decodeBackup } from '../../backup/backup-content.ts';
import { open } from '../../backup/sealed-container.ts';
import type { NodeInfo } from '../../contracts/node-directory.ts';
import { describeError } from '../../core/errors.ts';
import { connectAdmin, type GlobalOptions } from '../context.ts';
import type { Terminal } from '../terminal.ts';
import { readBackupFile } from './backup-file.ts';
import { readPassphrase } from './passphrase.ts';

/** @throws BACKUP_FILE_UNUSABLE, BACKUP_UNREADABLE, BACKUP_PASSPHRASE, UsageError */
export async function openBackup(
  terminal: Terminal,
  file: string,
  { passphraseFile }: { readonly passphraseFile?: string },
): Promise<Backup> {
  const sealed = await readBackupFile(file);
  const passphrase = await readPassphrase(
    { file: passphraseFile, isNew: false },
    terminal.prompt,
    terminal.env,
  );
  return decodeBackup(await open(sealed, passphrase));
}

/** The nodes connected to the gateway, or why nobody can tell. */
export async function connectedNodes(
  terminal: Terminal,
  globals: GlobalOptions,
): Promise<{ readonly nodes: readonly NodeInfo[] } | { readonly problem: string }> {
  try {
    const { items } = await connectAdmin(terminal, globals).get<{ items: NodeInfo[] }>('/api/v1/nodes');
    return { nodes: items };
  } catch (error) {
    return { problem: describeError(error) };
  }
}

/** The first names of a list, and how many more there are. */
export function someOf(names: readonly string[], most = 10): string {
  const more = names.length - most;
  return `${names.slice(0, most).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
