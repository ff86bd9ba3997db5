import { closeSync, fstatSync, openSync, readSync, truncateSync } from 'node:fs';
import { type AuditFile, auditFile, filesOf, lineHash, NO_LINE } from './audit-files.ts';

/** No line of ours is as long: fields are bounded in number and size. */
const TAIL_BYTES = 256 * 1024;

/** Where the chain ends: the file, its size in bytes, and the hash of its last line. */
export interface ChainEnd {
  readonly file: AuditFile;
  readonly size: number;
  readonly hash: string;
}

/** The end of what is there, after what a crash tore was cut off. */
export function findEnd(folder: string, replica: string): { end: ChainEnd; torn: number } {
  const [file, before] = filesOf(folder, replica).slice(-2).reverse();
  if (!file) return { end: { file: auditFile(folder, replica, 1), size: 0, hash: NO_LINE }, torn: 0 };
  const { size, tail } = readTail(file);
  const torn = tail.length - (tail.lastIndexOf('\n') + 1);
  if (torn > 0) truncateSync(file.path, size - torn);
  // One that was begun and not written any more goes on from the file before.
  const hash = hashOfLast(tail) ?? (before && hashOfLast(readTail(before).tail)) ?? NO_LINE;
  return { end: { file, size: size - torn, hash }, torn };
}

/** Of the last whole line; undefined where there is none. */
function hashOfLast(tail: Buffer): string | undefined {
  const lines = tail.subarray(0, Math.max(0, tail.lastIndexOf('\n')));
  const last = lines.subarray(lines.lastIndexOf('\n') + 1);
  return last.length === 0 ? undefined : lineHash(last);
}

function readTail({ path }: AuditFile): { size: number; tail: Buffer } {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    const read = readSync(fd, tail, 0, tail.length, size - tail.length);
    return { size, tail: tail.subarray(0, read) };
  } finally {
    closeSync(fd);
  }
}
