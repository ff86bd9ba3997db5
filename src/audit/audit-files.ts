import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** One file of the chain of one replica. */
export interface AuditFile {
  /** As the file name spells it. */
  readonly replica: string;
  /** Counts the files of this replica, from 1 on. */
  readonly number: number;
  readonly path: string;
}

/** What the first line of the first file names as the line before. */
export const NO_LINE = '0'.repeat(64);
/** Longest name of a replica in a file name; file systems take 255 bytes. */
const MAX_NAME = 150;
const NAME = /^(.+)\.([0-9]{6,15})\.jsonl$/;

/** Two replicas may share a folder: each has a chain of its own. */
export function auditFile(folder: string, replica: string, number: number): AuditFile {
  const spelt = spell(replica);
  return {
    replica: spelt,
    number,
    path: join(folder, `${spelt}.${String(number).padStart(6, '0')}.jsonl`),
  };
}

/** The files of all replicas, each replica's oldest first. @throws what the file system says */
export function listAuditFiles(folder: string): AuditFile[] {
  return readdirSync(folder)
    .flatMap((name) => {
      const [, replica, number] = NAME.exec(name) ?? [];
      return replica === undefined ? [] : [{ replica, number: Number(number), path: join(folder, name) }];
    })
    .sort((a, b) => a.replica.localeCompare(b.replica) || a.number - b.number);
}

/** The files of one replica, oldest first. */
export function filesOf(folder: string, replica: string): AuditFile[] {
  const spelt = spell(replica);
  return listAuditFiles(folder).filter((file) => file.replica === spelt);
}

/** SHA-256 of a line without its end, hexadecimal: what the next line names. */
export function lineHash(line: string | Uint8Array): string {
  return createHash('sha256').update(line).digest('hex');
}

function spell(replica: string): string {
  return encodeURIComponent(replica.toWellFormed()).slice(0, MAX_NAME);
}
