import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, link, lstat, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder, syncFolder, writeNew } from '../../core/durable-files.ts';

/** Largest manifest that is read: 1 MiB of values in base64 with room for the rest, bytes. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** A temporary file this old was left by a process that was killed, milliseconds. */
const ORPHAN_MS = 10 * 60_000;
/** Of the file of a Secret, behind its name. */
export const SUFFIX = '.yaml';
const TEMPORARY = /^\.tmp-[0-9]+-[0-9a-f]{16}$/;

export interface FileContent {
  readonly bytes: Uint8Array;
  /** Hash of the content: equal content is the same version. */
  readonly version: string;
  readonly mode: number;
}

export function versionOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}

/**
 * Undefined only when there is definitely no such file.
 *
 * @throws the system's error, or one with the code EFTYPE for what is not a plain file of sensible size
 */
export async function readWhole(path: string): Promise<FileContent | undefined> {
  // Without O_NONBLOCK, opening a named pipe would wait for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return undefined;
  });
  if (!file) {
    const dangling = await lstat(path).catch(() => undefined);
    if (dangling) throw Object.assign(new Error('a link to nowhere'), { code: 'ENOLINK' });
    return undefined;
  }
  try {
    const { size, mode } = await file.stat().then((found) => {
      if (found.isFile() && found.size <= MAX_FILE_BYTES) return found;
      throw Object.assign(new Error('not a plain file of sensible size'), { code: 'EFTYPE' });
    });
    // What is added to it meanwhile is a change of its own.
    const buffer = Buffer.alloc(size);
    let length = 0;
    while (length < size) {
      const { bytesRead } = await file.read(buffer, length, size - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    const bytes = buffer.subarray(0, length);
    return { bytes, version: versionOf(bytes), mode };
  } finally {
    await file.close();
  }
}

/**
 * Writes a new file, whole or not at all. @throws EEXIST when there is one: of several processes exactly one
 * succeeds
 */
export async function createWhole(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const temporary = await writeTemporary(folder, bytes);
  try {
    await link(temporary, join(folder, name)).catch(async (error: NodeJS.ErrnoException) => {
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(error.code ?? '')) throw error;
      // A file system without hard links: exclusive too, though readers may for a moment see half of it.
      await writeNew(join(folder, name), bytes);
    });
  } finally {
    await unlink(temporary).catch(() => {});
  }
  await syncFolder(folder);
}

/** Replaces a file in one step. `beforeSwap` may still throw, then nothing has changed. */
export async function replaceWhole(
  folder: string,
  name: string,
  { bytes, beforeSwap }: { readonly bytes: Uint8Array; readonly beforeSwap: () => void },
): Promise<void> {
  const temporary = await writeTemporary(folder, bytes);
  try {
    beforeSwap();
    await rename(temporary, join(folder, name));
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(folder);
}

/**
 * Why Secrets must not lie in this folder; undefined where they may, and where there is none yet. Whoever may
 * write into it may put a CA of his own there.
 */
export async function folderProblem(folder: string): Promise<string | undefined> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => error);
  // What cannot even be looked at is told by the call that needs it.
  if (found instanceof Error) return undefined;
  return (found.mode & 0o002) === 0 ? undefined : 'every user of this machine may write into it';
}

/**
 * Makes the folder its owner's alone before the first Secret is in it: one that git made is open to
 * everybody. Later its mode is the owner's business. Removes what killed processes left in it.
 */
export async function prepareFolder(folder: string, now: number): Promise<void> {
  makeFolder(folder);
  const names = await readdir(folder);
  // It may be somebody else's folder; `doctor` warns then.
  if (!names.some((name) => name.endsWith(SUFFIX)))
    await chmod(folder, (await stat(folder)).mode & 0o700).catch(() => {});
  for (const name of names) {
    if (!TEMPORARY.test(name)) continue;
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found && now - found.mtimeMs > ORPHAN_MS) await unlink(join(folder, name)).catch(() => {});
  }
}

async function writeTemporary(folder: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, `.tmp-${process.pid}-${randomBytes(8).toString('hex')}`);
  try {
    await writeNew(path, bytes);
  } catch (error) {
    await unlink(path).catch(() => {});
    throw error;
  }
  return path;
}
