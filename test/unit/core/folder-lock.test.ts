import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { FolderLock } from '../../../src/core/folder-lock.ts';
import { ManualClock, settle } from '../../fakes/manual-clock.ts';
import { eventually, eventuallyHolds } from '../../support/eventually.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const worker = join(import.meta.dirname, '../../support/fleets/secret-store-process.ts');
const clock = systemClock;
const children: ChildProcess[] = [];
let folder: string;
let path: string;
beforeEach(() => {
  folder = temporaryFolder();
  path = join(folder, '.lock');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A process that holds the lock until it is killed. */
async function holder(): Promise<ChildProcess> {
  const child = fork(worker, [folder, 'hold'], { execArgv: [] });
  children.push(child);
  await once(child, 'message');
  child.send('go');
  const [message] = await once(child, 'message');
  expect(message).toEqual({ held: true });
  return child;
}

test('one at a time, however many locks ask', async () => {
  let inside = 0;
  let most = 0;
  const locks = Array.from({ length: 5 }, () => new FolderLock({ clock }, { path }));
  await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      locks[index % locks.length]!.hold(async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setImmediate(resolve));
        inside--;
      }),
    ),
  );
  expect(most).toBe(1);
});

test('what the task throws comes through, and the lock is free again', async () => {
  const lock = new FolderLock({ clock }, { path });
  await expect(lock.hold(() => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
  expect(await new FolderLock({ clock }, { path }).hold(async () => 'free')).toBe('free');
});

test('a lock whose holder was killed with -9 is taken over at once', async () => {
  const child = await holder();
  const waits = { ...systemClock };
  const looks = vi.spyOn(waits, 'sleep');
  const lock = new FolderLock({ clock: waits }, { path, leaseMs: 60_000 });
  let taken = false;
  const next = lock.hold(async () => {
    taken = true;
  });
  await eventually('it waits', () => looks.mock.calls.length > 3);
  expect(taken).toBe(false);
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
  const since = Date.now();
  await next;
  expect(Date.now() - since).toBeLessThan(2_000);
});

test('of many that find the lock of a killed process only one at a time goes on', async () => {
  const child = await holder();
  child.kill('SIGKILL');
  await once(child, 'exit');
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 10 }, () =>
      new FolderLock({ clock }, { path }).hold(async () => {
        most = Math.max(most, ++inside);
        await settle();
        inside--;
      }),
    ),
  );
  expect(most).toBe(1);
});

test('a claim of a reused pid is not taken for its owner', async () => {
  const lock = new FolderLock({ clock }, { path, leaseMs: 60_000 });
  await lock.hold(async () => {});
  const claim = JSON.parse((await readFile(path, 'utf8')).split('\n').find((line) => line.startsWith('{'))!);
  if (claim.started === '') return expect(process.platform).not.toBe('linux');
  await writeFile(path, `\n${JSON.stringify({ ...claim, id: 'before', started: '1' })}\n`);
  expect(await lock.hold(async () => 'taken')).toBe('taken');
});

test('a holder whose process may not be looked at is not taken for dead', async () => {
  const flags = ['--permission', `--allow-fs-write=${folder}`];
  for (const path of [process.cwd(), folder, '/proc/sys/kernel/random/boot_id', '/proc/self/ns/pid'])
    flags.push(`--allow-fs-read=${path}`);
  await new FolderLock({ clock }, { path }).hold(async () => {
    const child = fork(worker, [folder, 'hold', '100'], { execArgv: flags });
    children.push(child);
    await once(child, 'message');
    child.send('go');
    const [outcome] = await once(child, 'message');
    expect(outcome).toEqual({ error: expect.stringContaining(`held by process ${process.pid}`) });
  });
});

test('waiting is bounded and says who holds it', async () => {
  const child = await holder();
  const lock = new FolderLock({ clock }, { path, waitMs: 100 });
  await expect(lock.hold(async () => {})).rejects.toThrow(
    `the lock on the folder is held by process ${child.pid}`,
  );
});

test('waiting ends with the signal, and leaves no claim behind', async () => {
  const child = await holder();
  const stop = new AbortController();
  const waits = { ...systemClock };
  const looks = vi.spyOn(waits, 'sleep');
  const waiting = new FolderLock({ clock: waits }, { path }).hold(async () => {}, stop.signal);
  await eventually('it waits', () => looks.mock.calls.length > 3);
  const reason = new Error('enough');
  stop.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await new FolderLock({ clock }, { path, leaseMs: 60_000 }).hold(async () => 'free')).toBe('free');
});

test('a holder on another machine that is silent for the lease is passed over, not before', async () => {
  const other = { id: 'other', pid: 1, started: '1', space: 'another machine' };
  await writeFile(path, `\n${JSON.stringify(other)}\n`);
  const manual = new ManualClock();
  let taken = false;
  const next = new FolderLock({ clock: manual }, { path, leaseMs: 1_000 }).hold(async () => {
    taken = true;
  });
  const settled = next.then(() => 'taken');
  const advance = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 20) {
      await eventually('it waits to look again', () => manual.pending > 0);
      await manual.advance(20);
    }
  };
  await advance(800);
  expect(taken).toBe(false);
  await eventuallyHolds(() => manual.advance(200).then(() => expect(taken).toBe(true)));
  expect(await settled).toBe('taken');
});

test('a holder that was slow finds out before its decisive step', async () => {
  const manual = new ManualClock();
  const lock = new FolderLock({ clock: manual }, { path, leaseMs: 1_000 });
  const slow = lock.hold(async (lease) => {
    lease.assertHeld();
    await manual.advance(501);
    lease.assertHeld();
  });
  await expect(slow).rejects.toThrow('held for too long');
});

test('a disk that was full when the lock was to be released holds up nobody once there is room', async () => {
  // Whoever had to wait for a lease would wait for ever: the clock stands still.
  const lock = new FolderLock({ clock: new ManualClock() }, { path });
  await using file = await open(path, 'a');
  const write = vi.spyOn(Object.getPrototypeOf(file), 'write');
  const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  try {
    await lock.hold(async () => void write.mockRejectedValue(full));
    await expect(lock.hold(async () => {})).rejects.toBe(full);
  } finally {
    write.mockRestore();
  }
  expect(await lock.hold(async () => 'mine')).toBe('mine');
  const others = new FolderLock({ clock: new ManualClock() }, { path });
  expect(await others.hold(async () => 'theirs')).toBe('theirs');
});

test('the lock file stays small, and torn lines in it are passed over', async () => {
  await writeFile(path, '\n{"id":"torn","pi');
  const locks = [new FolderLock({ clock }, { path }), new FolderLock({ clock }, { path })];
  let total = 0;
  await Promise.all(
    Array.from({ length: 300 }, (_, index) =>
      locks[index % 2]!.hold(async () => {
        total++;
      }),
    ),
  );
  expect(total).toBe(300);
  expect((await stat(path).catch(() => ({ size: 0 }))).size).toBeLessThan(32 * 1024);
});
