import { readFileSync } from 'node:fs';
import type { AuditEntry } from '../contracts/audit-trail.ts';
import { type AuditFile, lineHash, listAuditFiles, NO_LINE } from './audit-files.ts';

/** A line as it is stored. */
export interface AuditLine extends AuditEntry {
  /** ISO 8601. */
  readonly at: string;
  readonly replica: string;
  /** SHA-256 of the line before, hexadecimal. */
  readonly previous: string;
}

export interface AuditFilter {
  /** The node a line is about, or claims to be. */
  readonly node?: string | undefined;
  readonly action?: string | undefined;
  /** First and last moment, milliseconds since 1970. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
}

/** The lines of all replicas that match, oldest first. What is no line of an audit is left out. */
export function readAudit(folder: string, filter: AuditFilter = {}): AuditLine[] {
  const { node, action, since = -Infinity, until = Infinity } = filter;
  const isWanted = (line: AuditLine) => {
    const at = Date.parse(line.at);
    return (
      (node === undefined || line.node === node || line.facts?.claimedNode === node) &&
      (action === undefined || line.action === action) &&
      at >= since &&
      at <= until
    );
  };
  // File by file: all of them may be more than the memory of this machine.
  return listAuditFiles(folder)
    .flatMap((file) =>
      linesOf(file)
        .lines.flatMap((line) => parse(line) ?? [])
        .filter(isWanted),
    )
    .sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
}

/** What became of the chain of one replica. */
export interface ChainVerdict {
  readonly replica: string;
  readonly files: number;
  /** Lines that hold, up to the first that does not. */
  readonly lines: number;
  /** SHA-256 of the last of them: note it elsewhere, and ask for it later with `includes`. */
  readonly head: string;
  /** The first line that is not as it was written, and what is wrong with it. */
  readonly broken?: { readonly file: string; readonly line: number; readonly problem: string };
}

export interface AuditVerdict {
  readonly chains: readonly ChainVerdict[];
  /** Whether a line with the hash that was asked for holds. */
  readonly included?: boolean;
}

/** Follows the chain of each replica to its end, or to the first line that does not hold. */
export function verifyAudit(
  folder: string,
  { includes }: { readonly includes?: string | undefined } = {},
): AuditVerdict {
  const wanted = includes?.toLowerCase();
  let included = false;
  const onLine = (hash: string) => {
    included ||= hash === wanted;
  };
  const chains = [...Map.groupBy(listAuditFiles(folder), ({ replica }) => replica)].map(([replica, files]) =>
    verifyChain(replica, files, onLine),
  );
  return { chains, ...(wanted === undefined ? {} : { included }) };
}

function verifyChain(
  replica: string,
  files: readonly AuditFile[],
  onLine: (hash: string) => void,
): ChainVerdict {
  // Files are removed from the oldest on; what the oldest that is left names cannot be looked up.
  let head = files[0]!.number === 1 ? NO_LINE : undefined;
  let count = 0;
  const verdict = (broken?: ChainVerdict['broken']): ChainVerdict => ({
    replica,
    files: files.length,
    lines: count,
    head: head ?? NO_LINE,
    ...(broken ? { broken } : {}),
  });
  for (const file of files) {
    const { lines, torn } = linesOf(file);
    for (const [index, line] of lines.entries()) {
      const previous = parse(line)?.previous;
      const at = { file: file.path, line: index + 1 };
      if (previous === undefined) return verdict({ ...at, problem: 'it is no line of an audit' });
      if (previous !== (head ?? previous)) {
        const before = index === 0 ? 'the last line of the file before' : 'the line before';
        return verdict({ ...at, problem: `${before} was changed or removed, or this line was put in` });
      }
      head = lineHash(line);
      onLine(head);
      count++;
    }
    if (torn)
      return verdict({ file: file.path, line: lines.length + 1, problem: 'it has no end: it was cut off' });
  }
  return verdict();
}

/** @throws what the file system says */
function linesOf({ path }: AuditFile): { lines: string[]; torn: boolean } {
  const lines = readFileSync(path, 'utf8').split('\n');
  return { torn: lines.pop() !== '', lines };
}

function parse(line: string): AuditLine | undefined {
  try {
    const value = JSON.parse(line) as Partial<AuditLine> | null;
    const { at, action, who, previous } = value ?? {};
    const isLine = [at, action, who, previous].every((field) => typeof field === 'string');
    return isLine ? (value as AuditLine) : undefined;
  } catch {
    return undefined;
  }
}
