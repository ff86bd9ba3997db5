import { closeSync, fstatSync, openSync, truncateSync, unlinkSync, writeSync } from 'node:fs';
import type { AuditEntry, AuditTrail } from '../contracts/audit-trail.ts';
import type { Clock } from '../core/clock.ts';
import { makeFolder } from '../core/durable-files.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { auditFile, filesOf, lineHash } from './audit-files.ts';
import { type ChainEnd, findEnd } from './chain-end.ts';

export interface FileAuditComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'auditLines' | 'auditLinesLost'>;
}

export interface FileAuditOptions {
  /** The folder; it is created when it is missing. Read once. */
  readonly path: string;
  /** Names the chain. Read once. */
  readonly replica: string;
  /** A file that is as large is followed by another, bytes. */
  readonly fileBytes: number;
  /** Files kept of this replica, the one that is written included. */
  readonly files: number;
}

/** Longest of each text that is kept, characters. */
const MAX_TEXT = 1_000;
/** Who does what nobody asked for. */
const GATEWAY = 'gateway';

/**
 * Lines of JSON in files, each line naming the SHA-256 of the one before, across files. The line is written
 * before `record` returns and the file is opened anew for each: so nothing waits in memory for a crash to
 * take, and who moves or shortens a file is found out with the next line. A line that does not fit on a full
 * disk is taken back whole.
 */
export class FileAuditTrail implements AuditTrail {
  readonly #components: FileAuditComponents;
  readonly #options: () => FileAuditOptions;
  readonly #folder: string;
  readonly #replica: string;
  readonly #sampler: LogSampler;
  #end: ChainEnd;
  #lost = 0;
  #problem: string | undefined;

  /** @throws AUDIT_FOLDER_UNUSABLE when the folder cannot be written */
  constructor(components: FileAuditComponents, options: () => FileAuditOptions) {
    this.#components = components;
    this.#options = options;
    this.#folder = options().path;
    this.#replica = options().replica;
    this.#sampler = new LogSampler({ clock: components.clock });
    try {
      makeFolder(this.#folder);
      const { end, torn } = findEnd(this.#folder, this.#replica);
      this.#end = end;
      this.#append({
        action: 'audit-begun',
        who: GATEWAY,
        ...(torn > 0 ? { why: `the last line was incomplete; its ${torn} bytes were removed` } : {}),
      });
    } catch (cause) {
      throw new SallyportError(
        'AUDIT_FOLDER_UNUSABLE',
        { folder: this.#folder, problem: describeError(cause) },
        cause,
      );
    }
  }

  record(entry: AuditEntry): boolean {
    const { metrics, log } = this.#components;
    try {
      if (this.#lost > 0) {
        const why = this.#problem;
        this.#append({ action: 'audit-lines-lost', who: GATEWAY, why, facts: { lines: this.#lost } });
        log.warn({ lines: this.#lost }, 'the audit is written again; lines are missing');
        this.#lost = 0;
      }
      this.#append(entry);
      this.#problem = undefined;
      return true;
    } catch (error) {
      this.#lost++;
      this.#problem = describeError(error);
      metrics.auditLinesLost.inc();
      const suppressed = this.#sampler.pass(this.#problem);
      if (suppressed !== undefined)
        log.error(
          { folder: this.#folder, problem: this.#problem, lost: this.#lost, suppressed },
          'the audit cannot be written; changes by administrators are refused, save those that shut somebody out',
        );
      return false;
    }
  }

  problem(): string | undefined {
    return this.#problem;
  }

  #append(entry: AuditEntry): void {
    if (this.#end.size >= this.#options().fileBytes) this.#beginFile();
    const { path } = this.#end.file;
    const fd = openSync(path, 'a', 0o600);
    try {
      if (fstatSync(fd).size === this.#end.size) {
        this.#write(fd, entry);
        return;
      }
    } finally {
      closeSync(fd);
    }
    // Whoever did it is nobody's ally: the chain goes on from the line this process knows, so that a check
    // finds the place.
    this.#components.log.error(
      { file: path },
      'somebody else changed the file of the audit; a new one is begun, and a check of the old one will fail',
    );
    this.#beginFile();
    this.#append({ action: 'audit-file-changed', who: 'unknown', what: `somebody changed ${path}` });
    this.#append(entry);
  }

  #write(fd: number, entry: AuditEntry): void {
    const { clock, metrics } = this.#components;
    const { file, size, hash } = this.#end;
    const line = toLine(entry, {
      at: new Date(clock.now()).toISOString(),
      replica: this.#replica,
      previous: hash,
    });
    const bytes = Buffer.from(`${line}\n`);
    let written = 0;
    try {
      written = writeSync(fd, bytes);
      if (written !== bytes.length) throw new Error('no space left on the device');
    } catch (error) {
      truncateSync(file.path, size);
      throw error;
    }
    this.#end = { file, size: size + bytes.length, hash: lineHash(line) };
    metrics.auditLines.inc();
  }

  /** Its first line names the last one of the file before. */
  #beginFile(): void {
    const present = filesOf(this.#folder, this.#replica);
    const newest = Math.max(this.#end.file.number, present.at(-1)?.number ?? 0);
    const file = auditFile(this.#folder, this.#replica, newest + 1);
    closeSync(openSync(file.path, 'ax', 0o600));
    this.#end = { ...this.#end, file, size: 0 };
    for (const old of present.slice(0, Math.max(0, present.length + 1 - this.#options().files)))
      unlinkSync(old.path);
  }
}

/** One line, without its end. */
function toLine(
  { action, who, what, why, from, node, facts = {} }: AuditEntry,
  { at, replica, previous }: { at: string; replica: string; previous: string },
): string {
  const text = (value: string | undefined) => value?.slice(0, MAX_TEXT).toWellFormed();
  const kept = Object.entries(facts).map(([name, value]) => [name, boundedFact(value)]);
  return JSON.stringify({
    at,
    replica,
    action,
    who: text(who),
    what: text(what),
    why: text(why),
    from: text(from),
    node: text(node),
    ...(kept.length === 0 ? {} : { facts: Object.fromEntries(kept) }),
    previous,
  });
}

function boundedFact(value: unknown): unknown {
  if (typeof value === 'string') return value.slice(0, MAX_TEXT).toWellFormed();
  if (Array.isArray(value)) return value.slice(0, 20).map(boundedFact);
  return value;
}
