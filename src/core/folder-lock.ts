import { randomUUID } from 'node:crypto';
import { type FileHandle, open, readFile, readlink, stat, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Clock } from './clock.ts';

/** A lock file with more than this is removed by its holder, bytes. */
const COMPACT_BYTES = 16 * 1024;
const POLL_MS = 5;

interface Claim {
  readonly id: string;
  readonly pid: number;
  /**
   * Start of the process, so that a reused pid is not taken for its owner; empty where the system does not
   * tell.
   */
  readonly started: string;
  /** Within one such space pids can be compared: boot, host, pid namespace. */
  readonly space: string;
}

export interface Lease {
  /**
   * To be called right before the decisive step. @throws Error when others may have stopped waiting for us
   */
  assertHeld(): void;
}

/**
 * A lock between processes on one local file system, which survives `kill -9`. Node has no flock(2), and a
 * lock file that is deleted when stale has a race between two that find it stale; so claims are only ever
 * *appended* (O_APPEND puts them in one order) and the first claim that is neither released nor of a dead
 * process holds the lock. A live holder that does nothing for `leaseMs` is passed over; it finds that out in
 * `assertHeld` after half of that time. A full disk keeps a claim from being released: the next one does it.
 */
export class FolderLock {
  readonly #clock: Clock;
  readonly #path: string;
  readonly #waitMs: number;
  readonly #leaseMs: number;
  /** Claims of ours that the file still holds: there was no room on the disk to release them. */
  #unreleased: readonly string[] = [];
  #tail: Promise<unknown> = Promise.resolve();

  /** @param options.path the lock file; its folder has to exist when the lock is taken */
  constructor(
    components: { readonly clock: Clock },
    options: { readonly path: string; readonly waitMs?: number; readonly leaseMs?: number },
  ) {
    this.#clock = components.clock;
    this.#path = options.path;
    this.#leaseMs = options.leaseMs ?? 10_000;
    this.#waitMs = options.waitMs ?? this.#leaseMs + 5_000;
  }

  /** Runs `task` while nobody else holds the lock. @throws Error when it cannot be had in `waitMs` */
  hold<T>(task: (lease: Lease) => Promise<T>, signal?: AbortSignal): Promise<T> {
    const turn = this.#tail.then(async () => {
      // Timers of a Clock let the process end: a command that only waits for this lock would vanish without a
      // word.
      const keepAlive = setInterval(() => {}, this.#waitMs);
      try {
        return await this.#hold(task, signal);
      } finally {
        clearInterval(keepAlive);
      }
    });
    this.#tail = turn.catch(() => {});
    return turn;
  }

  async #hold<T>(task: (lease: Lease) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const self: Claim = { id: randomUUID(), ...(await thisProcess()) };
    const until = this.#clock.monotonic() + this.#waitMs;
    for (;;) {
      const file = await open(this.#path, 'a+', 0o600);
      try {
        await append(file, [...this.#unreleased, JSON.stringify(self)].join('\n'));
        this.#unreleased = [];
        const acquired = await this.#acquire(file, { self, until, signal });
        if (!acquired) continue;
        const since = this.#clock.monotonic();
        const isHeld = () => this.#clock.monotonic() - since <= this.#leaseMs / 2;
        const assertHeld = () => {
          if (!isHeld()) throw new Error('the lock on the folder was held for too long');
        };
        try {
          return await task({ assertHeld });
        } finally {
          // Whoever holds a file that is not at its path any more tries again with the new one.
          if (isHeld() && (await file.stat()).size > COMPACT_BYTES) await unlink(this.#path).catch(() => {});
        }
      } finally {
        await append(file, self.id).catch(() => {
          this.#unreleased = [...this.#unreleased, self.id];
        });
        await file.close();
      }
    }
  }

  /** True when `self` holds the lock, false when the file is not the lock file any more. */
  async #acquire(
    file: FileHandle,
    { self, until, signal }: { self: Claim; until: number; signal: AbortSignal | undefined },
  ): Promise<boolean> {
    const { ino } = await file.stat();
    const passedOver = new Set<string>();
    let before: { id: string; since: number } | undefined;
    for (;;) {
      signal?.throwIfAborted();
      const holder = await firstLiving(file, self, passedOver);
      if (holder?.id === self.id) {
        const present = await stat(this.#path).catch(() => undefined);
        return present?.ino === ino;
      }
      if (!holder) return false;
      const now = this.#clock.monotonic();
      if (before?.id !== holder.id) before = { id: holder.id, since: now };
      if (now - before.since > this.#leaseMs) passedOver.add(holder.id);
      else if (now > until) throw new Error(`the lock on the folder is held by process ${holder.pid}`);
      else await this.#clock.sleep(POLL_MS * (1 + 2 * Math.random()), signal);
    }
  }
}

/**
 * One write, so that O_APPEND keeps it whole; a line that was torn by a crash ends with the next one's first
 * byte.
 */
async function append(file: FileHandle, line: string): Promise<void> {
  const bytes = Buffer.from(`\n${line}\n`);
  const { bytesWritten } = await file.write(bytes);
  if (bytesWritten !== bytes.length) throw new Error('no space left for the lock');
}

async function firstLiving(
  file: FileHandle,
  self: Claim,
  passedOver: ReadonlySet<string>,
): Promise<Claim | undefined> {
  const { size } = await file.stat();
  const buffer = Buffer.alloc(size);
  const { bytesRead } = await file.read(buffer, 0, size, 0);
  const lines = buffer.toString('utf8', 0, bytesRead).split('\n');
  const released = new Set(lines);
  for (const line of lines) {
    const claim = line.startsWith('{') ? parseClaim(line) : undefined;
    if (!claim || released.has(claim.id) || passedOver.has(claim.id)) continue;
    if (claim.id === self.id || (await isAlive(claim, self))) return claim;
  }
  return undefined;
}

function parseClaim(line: string): Claim | undefined {
  try {
    const claim = JSON.parse(line) as Partial<Claim>;
    return typeof claim.id === 'string' && typeof claim.pid === 'number' ? (claim as Claim) : undefined;
  } catch {
    return undefined;
  }
}

/** False only when the owner is certainly gone; of another machine or container that cannot be known. */
async function isAlive(claim: Claim, self: Claim): Promise<boolean> {
  if (claim.space !== self.space) return true;
  try {
    process.kill(claim.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
  const started = await startOf(claim.pid);
  return claim.started === '' || started === '' || started === claim.started;
}

let own: Promise<Omit<Claim, 'id'>> | undefined;
function thisProcess(): Promise<Omit<Claim, 'id'>> {
  own ??= (async () => {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
    const namespace = await readlink('/proc/self/ns/pid').catch(() => '');
    const space = [hostname(), boot.trim(), namespace].join(' ');
    return { pid: process.pid, started: await startOf(process.pid), space };
  })();
  return own;
}

/**
 * Field 22 of proc_pid_stat(5); empty where it cannot be read (there is no /proc, or Node's permission model
 * keeps us out), `gone` for a process that is only waiting to be reaped.
 */
async function startOf(pid: number): Promise<string> {
  const which = pid === process.pid ? 'self' : pid;
  const text = await readFile(`/proc/${which}/stat`, 'utf8').catch(() => '');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? 'gone' : (fields[19] ?? '');
}
