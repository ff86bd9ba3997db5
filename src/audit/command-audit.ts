import { hostname } from 'node:os';
import { join } from 'node:path';
import type { AuditTrail } from '../contracts/audit-trail.ts';
import { makeFolder } from '../core/durable-files.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import { FolderLock } from '../core/folder-lock.ts';
import type { FileAuditComponents } from './file-audit-trail.ts';
import { type AuditOptions, openAuditTrail } from './open-audit-trail.ts';

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
  const { path: folder } = options;
  const replica = `command-line@${hostname()}`;
  const open = () => task(openAuditTrail(components, () => ({ ...options, replica })));
  if (folder === undefined) return open();
  let hasBegun = false;
  try {
    makeFolder(folder);
    const path = join(folder, `.${encodeURIComponent(replica)}.lock`);
    return await new FolderLock(components, { path }).hold(() => {
      hasBegun = true;
      return open();
    });
  } catch (cause) {
    if (hasBegun) throw cause;
    throw new SallyportError('AUDIT_FOLDER_UNUSABLE', { folder, problem: describeError(cause) }, cause);
  }
}
