import { checkBackup } from '../../backup/backup-check.ts';
import { decodeBackup, encodeBackup, readForBackup } from '../../backup/backup-content.ts';
import { backupNames } from '../../backup/backup-names.ts';
import { writeBackupRecord } from '../../backup/backup-record.ts';
import { open, seal } from '../../backup/sealed-container.ts';
import type { LoadedConfig } from '../../config/load.ts';
import { systemClock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import { VERSION } from '../../core/version.ts';
import { withStore } from '../open-store.ts';
import type { Terminal } from '../terminal.ts';
import { assertWritable, writeBackupFile } from './backup-file.ts';
import { printFindings } from './backup-view.ts';
import { readPassphrase } from './passphrase.ts';

export interface CreateOptions {
  readonly out: string;
  readonly force?: boolean;
  readonly passphraseFile?: string;
}

/**
 * `backup create`: reads the Secrets, seals them, opens the result once, writes it, and records that it was
 * made.
 */
export async function createBackup(
  terminal: Terminal,
  loaded: LoadedConfig,
  options: CreateOptions,
): Promise<void> {
  const [file, force] = [options.out, options.force === true];
  await assertWritable(file, { force });
  const passphrase = await readPassphrase(
    { file: options.passphraseFile, isNew: true },
    terminal.prompt,
    terminal.env,
  );
  await withStore(terminal, loaded, async (store) => {
    const backup = await readForBackup(store, {
      names: backupNames(loaded.config),
      now: systemClock.now(),
      version: VERSION,
    });
    const sealed = await seal(encodeBackup(backup), passphrase);
    // What lies in a vault for years is opened once before it goes there.
    const reopened = decodeBackup(await open(Buffer.from(sealed), passphrase));
    const { findings, signing, revocationVersion } = checkBackup(reopened, { clock: systemClock });
    await writeBackupFile(file, sealed, { force });
    printFindings(terminal, findings);
    terminal.print(`\n${file}: ${backup.secrets.length} Secrets of ${backup.location}`);
    if (findings.some(({ level }) => level === 'bad')) {
      terminal.printError('the backup holds what cannot be used as it is, because the store does');
      terminal.exitCode = 1;
    }
    await writeBackupRecord({ store, clock: systemClock }, loaded.config.certificates.backupSecret, {
      at: backup.createdAt,
      caSha256: [...signing],
      revocationVersion,
    }).catch((error) =>
      terminal.printError(
        `the backup is written, but not recorded, so the gateway will warn that it is missing: ${describeError(error)}`,
      ),
    );
  });
}
