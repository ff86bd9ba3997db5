import { open } from 'node:fs/promises';

/** A new file for its owner alone, whose content lasts through a power cut. @throws EEXIST */
export async function writeNew(path: string, content: string | Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Makes a new directory entry last through a power cut; where folders cannot be synced, that is the best
 * there is.
 */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}
