import type { AuditTrail } from '../contracts/audit-trail.ts';
import { type FileAuditComponents, type FileAuditOptions, FileAuditTrail } from './file-audit-trail.ts';

/** The section `audit` of the configuration. */
export type AuditOptions = Omit<FileAuditOptions, 'path'> & { readonly path?: string | undefined };

/** The audit in `path`, or one that keeps nothing. @throws AUDIT_FOLDER_UNUSABLE */
export function openAuditTrail(components: FileAuditComponents, options: () => AuditOptions): AuditTrail {
  const { path } = options();
  if (path === undefined) return NOTHING;
  return new FileAuditTrail(components, () => ({ ...options(), path }));
}

const NOTHING: AuditTrail = { record: () => true, problem: () => undefined };
