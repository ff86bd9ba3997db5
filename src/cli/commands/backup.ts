import type { CreateOptions } from '../backup/backup-create.ts';
import type { RestoreOptions } from '../backup/backup-restore.ts';
import { Command } from '../commander.ts';
import { type GlobalOptions, loadForCommand, outputOption } from '../context.ts';
import type { Terminal } from '../terminal.ts';

const PASSPHRASE = [
  '--passphrase-file <file>',
  'file that holds the passphrase as its only line (default: $SALLYPORT_PASSPHRASE, or asked for)',
] as const;

/**
 * `backup create`, `verify` and `restore`: straight to the Secret store, because private keys never leave
 * over the admin API.
 */
export function backupCommand(terminal: Terminal): Command {
  const command = new Command('backup').description(
    'back up the CA and what belongs to it, check backups and restore them',
  );

  command
    .command('create')
    .description('write CAs, keys, revocations and token key into one encrypted file')
    .requiredOption('--out <file>', 'file to write, mode 0600')
    .option('--force', 'overwrite the file')
    .option(...PASSPHRASE)
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport backup create --out fleet.backup\n  sallyport backup create --out fleet-$(date +%F).backup --passphrase-file /run/secrets/passphrase\n\nopenssl (3.0 or later) opens it as well; docs/operations.md shows how.',
    )
    .action(async (options: CreateOptions, self: Command) => {
      const { createBackup } = await import('../backup/backup-create.ts');
      await createBackup(terminal, loadForCommand(terminal, self.optsWithGlobals<GlobalOptions>()), options);
    });

  command
    .command('verify <file>')
    .description('open a backup, check every part, and compare it with the store and the connected nodes')
    .option('--offline', 'look at the file alone')
    .option(...PASSPHRASE)
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport backup verify fleet.backup\n  sallyport backup verify fleet.backup --admin hub.example:10010 -o json\n\nExits with 1 when it would not bring every connected node back.',
    )
    .action(async (file: string, options: { offline?: boolean; passphraseFile?: string }, self: Command) => {
      const { verifyBackup } = await import('../backup/backup-verify.ts');
      await verifyBackup(terminal, file, options, self.optsWithGlobals<GlobalOptions>());
    });

  command
    .command('restore <file>')
    .description('write a backup into the Secret store; another CA that is there is kept unless forced')
    .option('--dry-run', 'say what would be written and what that would break, and write nothing')
    .option('--yes', 'do not ask')
    .option('--force', 'replace what is there, also another CA')
    .option('--revoke-tokens', 'refuse every join token made before')
    .option(...PASSPHRASE)
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExamples:\n  sallyport backup restore fleet.backup --dry-run\n  sallyport backup restore fleet.backup\n\nStop the gateways first; docs/operations.md has the whole drill.',
    )
    .action(async (file: string, options: RestoreOptions, self: Command) => {
      const { restoreBackup } = await import('../backup/backup-restore.ts');
      await restoreBackup(terminal, file, options, self.optsWithGlobals<GlobalOptions>());
    });

  return command;
}
