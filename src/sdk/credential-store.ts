import { randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describeError, SallyportError } from '../core/errors.ts';
import { checkPair } from './credentials.ts';
import type { EdgeCredentials } from './transports/transport.ts';

const CURRENT = 'current';
const GENERATION = /^generation-[0-9a-f]{16}$/;

/**
 * Keeps key, certificate and CA of one node in a folder:
 *
 * ```
 * <directory>/                     0700
 *   current -> generation-…        the only thing that ever changes
 *   generation-…/                  0700
 *     key.pem certificate.pem ca.pem   0600
 * ```
 *
 * A new set is written and flushed beside the old one, then `current` is replaced by one `rename`, which
 * POSIX makes atomic: whoever is killed at any point leaves either the old set or the new one, never a key
 * without its certificate. One process a folder.
 */
export class CredentialStore {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = resolve(directory);
  }

  /**
   * What is stored, or undefined when nothing is.
   * @throws NOT_JOINED when it is there and cannot be used: unreadable, key and certificate no pair, another
   * node's
   */
  async load(node: string): Promise<EdgeCredentials | undefined> {
    const unusable = (problem: string, cause?: unknown) =>
      new SallyportError('NOT_JOINED', { node, directory: this.directory, problem }, cause);
    const folder = join(this.directory, CURRENT);
    let credentials: EdgeCredentials;
    try {
      await readlink(folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw unusable(describeError(error), error);
    }
    try {
      const [key, certificate, ca] = await Promise.all(
        ['key.pem', 'certificate.pem', 'ca.pem'].map((name) => readFile(join(folder, name), 'utf8')),
      );
      credentials = { node, ca: ca!, certificate: certificate!, key: key! };
    } catch (error) {
      throw unusable(describeError(error), error);
    }
    const problem = checkPair(credentials);
    if (problem !== undefined) throw unusable(problem);
    return credentials;
  }

  /** Replaces what is stored, all or nothing; on return it is on the disk. */
  async save(credentials: EdgeCredentials): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    // The folder may have been there before, made by a careless hand.
    await chmod(this.directory, 0o700);
    const name = `generation-${randomBytes(8).toString('hex')}`;
    const folder = join(this.directory, name);
    await mkdir(folder, { mode: 0o700 });
    await writeDurably(join(folder, 'key.pem'), credentials.key);
    await writeDurably(join(folder, 'certificate.pem'), credentials.certificate);
    await writeDurably(join(folder, 'ca.pem'), credentials.ca);
    await flush(folder);

    const pointer = join(this.directory, `.${name}`);
    await symlink(name, pointer);
    await rename(pointer, join(this.directory, CURRENT));
    await flush(this.directory);
    await this.#removeAllBut(name);
  }

  /**
   * Old sets, and what a killed process left half written. Keys that are not used any more should not lie
   * about.
   */
  async #removeAllBut(current: string): Promise<void> {
    for (const entry of await readdir(this.directory)) {
      const generation = entry.startsWith('.') ? entry.slice(1) : entry;
      if (!GENERATION.test(generation) || entry === current) continue;
      await rm(join(this.directory, entry), { recursive: true, force: true });
    }
  }
}

async function writeDurably(path: string, content: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function flush(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
