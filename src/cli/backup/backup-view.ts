import type { BackupFinding } from '../../backup/backup-check.ts';
import { formatTable } from '../output.ts';
import type { Terminal } from '../terminal.ts';

export function printFindings(terminal: Terminal, findings: readonly BackupFinding[]): void {
  terminal.print(
    formatTable<BackupFinding>(findings, [
      ['', ({ level }) => level.toUpperCase()],
      ['PART', ({ what }) => what],
      ['WHAT', ({ text }) => text],
    ]),
  );
}
