import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SecretSnapshot } from '../../../../src/contracts/secret-store.ts';
import { systemClock } from '../../../../src/core/clock.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { createLogger } from '../../../../src/core/pino-log.ts';
import { DirectorySecretStore } from '../../../../src/secrets/directory/directory-secret-store.ts';
import { printSecretManifest } from '../../../../src/secrets/secret-manifest.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { eventuallyHolds } from '../../../support/eventually.ts';
import { scaled } from '../../../support/scale.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';

const worker = join(import.meta.dirname, '../../../support/fleets/secret-store-process.ts');
const metrics = createMetrics({ process: false });
const components = { clock: systemClock, log: silentLogger, metrics };
let parent: string;
let path: string;
let store: DirectorySecretStore;
const children: ChildProcess[] = [];
beforeEach(async () => {
  parent = temporaryFolder();
  path = join(parent, 'a', 'secrets');
  store = new DirectorySecretStore(components, { path, resyncMs: 60_000 });
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await store.close();
});

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const fileOf = (name: string) => join(path, `${name}.yaml`);
const manifest = (name: string, value: string) =>
  printSecretManifest({ name, data: { value: bytes(value) } });

function follow(names: readonly string[], from = store) {
  const snapshots: SecretSnapshot[] = [];
  const errors: unknown[] = [];
  from.watch(
    names,
    (snapshot) => snapshots.push(snapshot),
    (error) => errors.push(error),
  );
  const value = (name: string) => Buffer.from(snapshots.at(-1)?.get(name)?.data.value ?? []).toString();
  return { snapshots, errors, value };
}

/** Starts processes, lets all begin at the same moment, and gives their outcomes. */
async function inProcesses(tasks: readonly (readonly string[])[]): Promise<Record<string, unknown>[]> {
  const started = await Promise.all(
    tasks.map(async (task) => {
      const child = fork(worker, [path, ...task], { execArgv: [] });
      children.push(child);
      await once(child, 'message');
      return child;
    }),
  );
  const outcomes = started.map(async (child) => (await once(child, 'message'))[0]);
  for (const child of started) child.send('go');
  return Promise.all(outcomes);
}

const PROCESSES = scaled(8, 3);

describe('between processes', () => {
  test(`A1: of ${PROCESSES} processes that create the same secret in an empty folder exactly one succeeds, and all read its value`, async () => {
    const outcomes = await inProcesses(
      Array.from({ length: PROCESSES }, (_, index) => ['create', `ca ${index}`]),
    );
    const stored = Buffer.from((await store.get('casecret'))!.data.value!).toString();
    expect(outcomes.filter((outcome) => outcome.won)).toHaveLength(1);
    expect(stored).toBe(`ca ${outcomes.findIndex((outcome) => outcome.won)}`);
    for (const outcome of outcomes) if (!outcome.won) expect(outcome).toEqual({ won: false, read: stored });
    expect((await readdir(path)).filter((name) => name !== '.lock')).toEqual(['casecret.yaml']);
  });

  test(`E3: ${PROCESSES} processes that change the same record again and again lose no update`, async () => {
    await store.create({ name: 'counter', data: { value: bytes('0') } });
    const outcomes = await inProcesses(Array.from({ length: PROCESSES }, () => ['count', '12']));
    expect(outcomes.flatMap(({ error }) => error ?? [])).toEqual([]);
    expect(Buffer.from((await store.get('counter'))!.data.value!).toString()).toBe(String(12 * PROCESSES));
    expect(outcomes.some((outcome) => Number(outcome.conflicts) > 0)).toBe(true);
  });

  test('a process killed with -9 in the middle leaves a whole secret that others can replace', async () => {
    await store.create({ name: 'counter', data: { value: bytes('0') } });
    for (const changes of [1, 2, 3]) {
      const child = fork(worker, [path, 'count', '1000000'], { execArgv: [] });
      children.push(child);
      await once(child, 'message');
      child.send('go');
      for (let n = 0; n < changes; n++) {
        const before = (await store.get('counter'))!.version;
        await eventuallyHolds(async () => expect((await store.get('counter'))!.version).not.toBe(before));
      }
      child.kill('SIGKILL');
      await once(child, 'exit');
      const read = (await store.get('counter'))!;
      const since = Date.now();
      await store.replace({ ...read, version: read.version!, data: { value: bytes('0') } });
      expect(Date.now() - since).toBeLessThan(2_000);
    }
  });
});

describe('the files', () => {
  test('the folder and its files are for their owner alone', async () => {
    const created = await store.create({ name: 'casecret', data: { value: bytes('1') } });
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect((await stat(fileOf('casecret'))).mode & 0o777).toBe(0o600);
    await chmod(fileOf('casecret'), 0o644);
    await store.replace({ ...created, version: created.version!, data: { value: bytes('2') } });
    expect((await stat(fileOf('casecret'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(path, '.lock'))).mode & 0o777).toBe(0o600);
  });

  test('a folder that git made is closed to others before the first Secret is in it, and is the owner’s later', async () => {
    await mkdir(path, { recursive: true });
    await chmod(path, 0o755);
    await writeFile(join(path, 'README.md'), 'from the repository');
    await store.create({ name: 'casecret', data: { value: bytes('1') } });
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    await chmod(path, 0o750);
    await store.create({ name: 'other', data: { value: bytes('1') } });
    expect((await stat(path)).mode & 0o777).toBe(0o750);
  });

  test('reading does not make the folder', async () => {
    expect(await store.get('casecret')).toBeUndefined();
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(store.replace({ name: 'casecret', version: '1', data: {} })).rejects.toMatchObject({
      code: 'SECRET_NOT_FOUND',
    });
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a replacement keeps the labels and annotations people gave the manifest', async () => {
    await mkdir(path, { recursive: true });
    const text = manifest('web', '1').replace('metadata:', 'metadata:\n  labels: {team: edge}');
    await writeFile(fileOf('web'), text, { mode: 0o600 });
    const read = (await store.get('web'))!;
    await store.replace({ ...read, version: read.version!, data: { value: bytes('2') } });
    expect(await readFile(fileOf('web'), 'utf8')).toContain('"team": "edge"');
  });

  test('an immutable secret is not replaced', async () => {
    await mkdir(path, { recursive: true });
    await writeFile(fileOf('web'), `${manifest('web', '1')}immutable: true\n`, { mode: 0o600 });
    const read = (await store.get('web'))!;
    await expect(store.replace({ ...read, version: read.version! })).rejects.toMatchObject({
      code: 'SECRET_MALFORMED',
      details: { problem: 'it is immutable' },
    });
  });

  test('a change by hand, even of a comment, is a new version', async () => {
    const created = await store.create({ name: 'web', data: { value: bytes('1') } });
    await appendFile(fileOf('web'), '# looked at\n');
    await expect(store.replace({ ...created, version: created.version! })).rejects.toMatchObject({
      code: 'SECRET_CONFLICT',
    });
  });

  test('what killed processes left behind is removed after a while, nothing else is', async () => {
    await mkdir(path, { recursive: true });
    const [old, fresh] = ['.tmp-1-0123456789abcdef', '.tmp-2-0123456789abcdef'];
    for (const name of [old!, fresh!, 'README.md']) await writeFile(join(path, name), '');
    await utimes(join(path, old!), 1, 1);
    await utimes(join(path, 'README.md'), 1, 1);
    await store.create({ name: 'one', data: {} });
    expect((await readdir(path)).sort()).toEqual([fresh, 'README.md', 'one.yaml']);
  });

  test('A10: warns once of a file that others can read, without its content', async () => {
    const lines: string[] = [];
    const log = createLogger({
      level: 'trace',
      format: 'json',
      destination: { write: (line) => lines.push(line) },
    });
    const watched = new DirectorySecretStore({ ...components, log }, { path, resyncMs: 60_000 });
    await watched.create({ name: 'web', data: { value: bytes('hunter2hunter2') } });
    await chmod(fileOf('web'), 0o640);
    await watched.get('web');
    await watched.get('web');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'warn', secret: 'web' });
    expect(lines[0]).not.toContain(Buffer.from('hunter2hunter2').toString('base64'));
  });
});

describe('A2, A3: what cannot be read is an error, never "does not exist"', () => {
  beforeEach(() => mkdir(path, { recursive: true }));

  test('a link to nowhere', async () => {
    await symlink(join(parent, 'nothing'), fileOf('casecret'));
    await expect(store.get('casecret')).rejects.toMatchObject({ code: 'SECRET_STORE_UNAVAILABLE' });
    await expect(store.create({ name: 'casecret', data: {} })).rejects.toMatchObject({
      code: 'SECRET_ALREADY_EXISTS',
    });
  });

  test('a folder in its place, and a file of absurd size', async () => {
    await mkdir(fileOf('casecret'));
    await writeFile(fileOf('huge'), Buffer.alloc(5 * 1024 * 1024));
    for (const name of ['casecret', 'huge'])
      await expect(store.get(name)).rejects.toMatchObject({
        code: 'SECRET_MALFORMED',
        details: { secret: name },
      });
  });

  test('a file without rights to read it is forbidden', async () => {
    await writeFile(fileOf('casecret'), manifest('casecret', '1'));
    await chmod(fileOf('casecret'), 0);
    // The superuser may read everything, so for a moment this process is nobody.
    const isSuperuser = process.geteuid?.() === 0;
    if (isSuperuser) process.seteuid!(65_534);
    try {
      await expect(store.get('casecret')).rejects.toMatchObject({
        code: 'SECRET_STORE_FORBIDDEN',
        details: { verb: 'get', secret: 'casecret' },
      });
    } finally {
      if (isSuperuser) process.seteuid!(0);
    }
  });

  test('a folder that every user may write into holds no Secret of ours', async () => {
    await chmod(path, 0o777);
    const refusal = { code: 'SECRET_FOLDER_UNUSABLE', details: { folder: path } };
    await expect(store.get('casecret')).rejects.toMatchObject(refusal);
    await expect(store.create({ name: 'casecret', data: {} })).rejects.toMatchObject(refusal);
    expect(await readdir(path)).toEqual([]);
  });

  test('a folder that cannot be written is told at the first write, and reading goes on', async () => {
    await chmod(path, 0o555);
    const isSuperuser = process.geteuid?.() === 0;
    if (isSuperuser) await chmod(parent, 0o755).then(() => process.seteuid!(65_534));
    try {
      await expect(store.get('casecret')).resolves.toBeUndefined();
      await expect(store.create({ name: 'casecret', data: {} })).rejects.toMatchObject({
        code: 'SECRET_FOLDER_UNUSABLE',
        message: expect.stringContaining('it cannot be written'),
      });
    } finally {
      if (isSuperuser) process.seteuid!(0);
    }
  });

  test('a broken manifest names its file, and is neither created over nor replaced', async () => {
    await writeFile(fileOf('casecret'), 'apiVersion: v1\nkind: Sec', { mode: 0o600 });
    await expect(store.get('casecret')).rejects.toMatchObject({
      code: 'SECRET_MALFORMED',
      details: { secret: 'casecret', file: fileOf('casecret') },
    });
    await expect(store.create({ name: 'casecret', data: {} })).rejects.toMatchObject({
      code: 'SECRET_ALREADY_EXISTS',
    });
    await expect(store.replace({ name: 'casecret', version: '1', data: {} })).rejects.toMatchObject({
      code: 'SECRET_CONFLICT',
    });
    expect(await readFile(fileOf('casecret'), 'utf8')).toBe('apiVersion: v1\nkind: Sec');
  });
});

describe('a watch', () => {
  test('B7: keeps the last good value of a secret while its file is half written, then takes the new one', async () => {
    await store.create({ name: 'web', data: { value: bytes('good') } });
    await store.create({ name: 'other', data: { value: bytes('1') } });
    const { snapshots, errors, value } = follow(['web', 'other']);
    await eventuallyHolds(() => expect(value('web')).toBe('good'));
    await writeFile(fileOf('web'), manifest('web', 'a longer and better value').slice(0, -6));
    await eventuallyHolds(() => expect(errors.length).toBeGreaterThan(0));
    expect(errors[0]).toMatchObject({ code: 'SECRET_MALFORMED', details: { secret: 'web' } });
    await writeFile(fileOf('other'), manifest('other', '2'));
    await eventuallyHolds(() => expect(value('other')).toBe('2'));
    for (const snapshot of snapshots)
      expect(Buffer.from(snapshot.get('web')!.data.value!).toString()).toBe('good');
    await writeFile(fileOf('web'), manifest('web', 'a longer and better value'));
    await eventuallyHolds(() => expect(value('web')).toBe('a longer and better value'));
  });

  test('A3: gives no snapshot while a secret exists that was never readable', async () => {
    await mkdir(path, { recursive: true });
    await writeFile(fileOf('web'), 'half');
    const { snapshots, errors, value } = follow(['web', 'other']);
    await eventuallyHolds(() => expect(errors.length).toBeGreaterThan(0));
    expect(snapshots).toEqual([]);
    await writeFile(fileOf('web'), manifest('web', 'whole'));
    await eventuallyHolds(() => expect(value('web')).toBe('whole'));
  });

  test('sees edits in place, replacement by rename, and removal', async () => {
    await store.create({ name: 'web', data: { value: bytes('1') } });
    const { snapshots, value } = follow(['web']);
    await eventuallyHolds(() => expect(value('web')).toBe('1'));
    await writeFile(fileOf('web'), manifest('web', '2'));
    await eventuallyHolds(() => expect(value('web')).toBe('2'));
    await writeFile(join(path, 'draft'), manifest('web', '3'));
    await rename(join(path, 'draft'), fileOf('web'));
    await eventuallyHolds(() => expect(value('web')).toBe('3'));
    await rm(fileOf('web'));
    await eventuallyHolds(() => expect(snapshots.at(-1)!.get('web')).toBeUndefined());
  });

  test('goes on when the folder is removed and made again, and when another takes its place', async () => {
    await store.create({ name: 'web', data: { value: bytes('1') } });
    const { snapshots, value } = follow(['web']);
    await eventuallyHolds(() => expect(value('web')).toBe('1'));
    await rm(path, { recursive: true });
    await eventuallyHolds(() => expect(snapshots.at(-1)!.get('web')).toBeUndefined());
    await store.create({ name: 'web', data: { value: bytes('2') } });
    await eventuallyHolds(() => expect(value('web')).toBe('2'));
    await mkdir(`${path}-next`);
    await writeFile(join(`${path}-next`, 'web.yaml'), manifest('web', '3'));
    await rename(path, `${path}-old`);
    await rename(`${path}-next`, path);
    await eventuallyHolds(() => expect(value('web')).toBe('3'));
    await writeFile(fileOf('web'), manifest('web', '4'));
    await eventuallyHolds(() => expect(value('web')).toBe('4'));
  });

  test('collapses a burst of writes', async () => {
    await store.create({ name: 'web', data: { value: bytes('0') } });
    const { snapshots, value } = follow(['web']);
    await eventuallyHolds(() => expect(value('web')).toBe('0'));
    const before = snapshots.length;
    for (let n = 1; n <= 100; n++) {
      await writeFile(join(path, 'draft'), manifest('web', String(n)));
      await rename(join(path, 'draft'), fileOf('web'));
    }
    await eventuallyHolds(() => expect(value('web')).toBe('100'));
    expect(snapshots.length - before).toBeLessThan(20);
  });

  test('B7: files written one after the other are told together, and one that is half written not at all', async () => {
    const clock = new ManualClock();
    const timed = new DirectorySecretStore({ ...components, clock }, { path, resyncMs: 3_600_000 });
    await timed.create({ name: 'web', data: { value: bytes('1') } });
    const { snapshots, errors } = follow(['web', 'other'], timed);
    await eventuallyHolds(() => expect(snapshots).toHaveLength(1));
    const idle = clock.pending;
    await writeFile(fileOf('web'), 'half');
    await eventuallyHolds(() => expect(clock.pending).toBe(idle + 1));
    await clock.advance(9);
    await writeFile(fileOf('web'), manifest('web', '2'));
    await writeFile(fileOf('other'), manifest('other', '2'));
    await eventuallyHolds(() => clock.advance(10).then(() => expect(snapshots).toHaveLength(2)));
    for (const secret of snapshots[1]!.values()) expect(secret?.data.value).toEqual(bytes('2'));
    expect(errors).toEqual([]);
    await timed.close();
  });

  test('B6: the periodic read goes by the clock, tells when it was, and leaves no timer behind', async () => {
    const clock = new ManualClock();
    const own = createMetrics({ process: false });
    const timed = new DirectorySecretStore(
      { clock, log: silentLogger, metrics: own },
      { path, resyncMs: 10_000 },
    );
    const snapshots: SecretSnapshot[] = [];
    const stop = timed.watch(
      ['web'],
      (snapshot) => snapshots.push(snapshot),
      () => {},
    );
    await eventuallyHolds(() => expect(snapshots).toHaveLength(1));
    await clock.advance(9_000);
    expect(snapshots).toHaveLength(1);
    await clock.advance(1_000);
    await eventuallyHolds(() => expect(snapshots).toHaveLength(2));
    expect((await own.storeLastSync.get()).values[0]!.value).toBe(clock.now() / 1000);
    // Looking for the folder and the periodic read fall due together again and again: still one timer each.
    await clock.advance(200_000);
    await eventuallyHolds(() => expect(clock.pending).toBe(2));
    stop();
    expect(clock.pending).toBe(0);
    await timed.close();
  });
});

test('the metrics tell whether the store can be used, and count what failed', async () => {
  const own = createMetrics({ process: false });
  const lines: string[] = [];
  const log = createLogger({
    level: 'info',
    format: 'json',
    destination: { write: (line) => lines.push(line) },
  });
  const counted = new DirectorySecretStore(
    { clock: systemClock, log, metrics: own },
    { path, resyncMs: 60_000 },
  );
  const up = async () => (await own.storeUp.get()).values[0]!.value;
  await counted.create({ name: 'web', data: {} });
  await expect(counted.create({ name: 'web', data: {} })).rejects.toThrow();
  expect(await up()).toBe(1);
  await rename(path, `${path}-away`);
  await writeFile(path, '');
  for (let n = 0; n < 3; n++) await expect(counted.get('web')).rejects.toThrow();
  expect(await up()).toBe(0);
  expect((await own.storeErrors.get()).values).toEqual([
    expect.objectContaining({ labels: { code: 'SECRET_STORE_UNAVAILABLE' }, value: 3 }),
  ]);
  await rm(path);
  await rename(`${path}-away`, path);
  await counted.get('web');
  expect(await up()).toBe(1);
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual([
    'the secret store cannot be used',
    'the secret store answers again',
  ]);
});
