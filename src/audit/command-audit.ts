import { closeSync, mkdirSync, openSync, statSync, unlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { AuditTrail } from '../contracts/audit-trail.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { FileAuditComponents } from './file-audit-trail.ts';
import { type AuditOptions, openAuditTrail } from './open-audit-trail.ts';

/** Between two looks at a chain that another command writes, milliseconds. */
const LOOK_MS = 20;
/** A command writes for milliseconds; what is held so long was left by one that was killed, milliseconds. */
const LEFT_BEHIND_MS = 10_000;

/**
 * Gives `task` the audit of the commands that change something without a gateway. They have a chain of their
 * own in the same folder, one for each machine, beside that of a gateway which writes its own meanwhile; and
 * one command has it at a time, whoever else waits.
 * @throws AUDIT_FOLDER_UNUSABLE when the folder cannot be written; nothing was done then
 */
export async function withCommandAudit<T>(
  components: FileAuditComponents,
  options: Omit<AuditOptions, 'replica'>,
  task: (audit: AuditTrail) => Promise<T>,
): Promise<T> {
  const replica = `command-line@${hostname()}`;
  const open = () => task(openAuditTrail(components, () => ({ ...options, replica })));
  if (options.path === undefined) return open();
  const lock = join(options.path, `.${encodeURIComponent(replica)}.lock`);
  await take(lock, { ...components, folder: options.path });
  try {
    return await open();
  } finally {
    unlinkSync(lock);
  }
}

async function take(
  lock: string,
  { clock, folder }: Pick<FileAuditComponents, 'clock'> & { readonly folder: string },
): Promise<void> {
  for (;;) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      closeSync(openSync(lock, 'wx', 0o600));
      return;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
        const problem = describeError(cause);
        throw new SallyportError('AUDIT_FOLDER_UNUSABLE', { folder, problem }, cause);
      }
    }
    if (isLeftBehind(lock)) removeIfThere(lock);
    else await clock.sleep(LOOK_MS);
  }
}

/** By the clock of the file system, which also dates the lock. */
function isLeftBehind(lock: string): boolean {
  try {
    return Date.now() - statSync(lock).mtimeMs > LEFT_BEHIND_MS;
  } catch {
    return false;
  }
}

function removeIfThere(lock: string): void {
  try {
    unlinkSync(lock);
  } catch {
    // Whoever held it, or waits as well, was faster.
  }
}
