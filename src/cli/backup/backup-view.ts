import type { BackupFinding } from '../../backup/backup-check.ts';
import { formatTable } from '../output.ts';
import { print } from '../streams.ts';

export function printFindings(findings: readonly BackupFinding[]): void {
  print(
    formatTable<BackupFinding>(findings, [
      ['', ({ level }) => level.toUpperCase()],
      ['PART', ({ what }) => what],
      ['WHAT', ({ text }) => text],
    ]),
  );
}
