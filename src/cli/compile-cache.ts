import { lstatSync, mkdirSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Keeps compiled code, so that a command line costs half the CPU from its second run on. Node trusts what is
 * in the folder as it trusts the program; so it is one that nobody else can write, and without such a folder
 * there is no cache. `NODE_COMPILE_CACHE` of the environment comes first: Node has read it already.
 */
export function useCompileCache({ XDG_CACHE_HOME, NODE_COMPILE_CACHE }: NodeJS.ProcessEnv): void {
  // Under the permission model (the image) there is no folder to write to.
  if (NODE_COMPILE_CACHE !== undefined || process.permission) return;
  const uid = process.getuid?.();
  // With sudo, the home may still be the user's, who could put his own folder in place of root's.
  const base = uid === 0 ? '/var/cache' : (XDG_CACHE_HOME ?? join(homedir(), '.cache'));
  try {
    enableCompileCache(ownFolder(join(base, 'sallyport'), uid));
  } catch {
    // It only makes things faster.
  }
}

/** Makes the folder where it is not there. @throws when others than `uid` could write to it */
export function ownFolder(folder: string, uid: number | undefined): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || (uid !== undefined && (found.uid !== uid || (found.mode & 0o022) !== 0)))
    throw new Error(`${folder} is not ours alone`);
  return folder;
}
