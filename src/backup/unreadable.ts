import { SallyportError } from '../core/errors.ts';

/** Whatever is wrong with the bytes of a backup. */
export function unreadable(problem: string, cause?: unknown): SallyportError {
  return new SallyportError('BACKUP_UNREADABLE', { problem }, cause);
}
