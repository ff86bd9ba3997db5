import { randomBytes } from 'node:crypto';
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { makeFolder, syncFolder, writeNew } from '../core/durable-files.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import { type Logger, silentLogger } from '../core/log.ts';
import { checkPair } from './credentials.ts';
import type { EdgeCredentials } from './transports/transport.ts';

const CURRENT = 'current';
const GENERATION = /^generation-[0-9a-f]{16}$/;
/** A set this old that `current` does not name was left by a process that was killed, milliseconds. */
const ORPHAN_MS = 10 * 60_000;
/** How often a set may be replaced while it is read. */
const READ_ATTEMPTS = 5;

/**
 * Keeps key, certificate and CA of one node in a folder:
 *
 * ```
 * <directory>/                     0700
 *   .gitignore                     no key of a node belongs in a repository
 *   current -> generation-…        the only thing that ever changes
 *   generation-…/                  0700
 *     key.pem certificate.pem ca.pem   0600
 * ```
 *
 * A new set is written and flushed beside the old one, then `current` is replaced by one `rename`, which
 * POSIX makes atomic: whoever is killed at any point leaves either the old set or the new one, never a key
 * without its certificate. Of several that save at one moment the last wins, and its set is whole.
 */
export class CredentialStore {
  readonly directory: string;
  readonly #logger: Logger;

  constructor(directory: string, { logger = silentLogger }: { readonly logger?: Logger } = {}) {
    this.directory = resolve(directory);
    this.#logger = logger;
  }

  /**
   * What is stored, or undefined when nothing is.
   * @throws NOT_JOINED when it is there and cannot be used: unreadable, key and certificate no pair, another
   * node's
   */
  async load(node: string): Promise<EdgeCredentials | undefined> {
    const unusable = (problem: string, cause?: unknown) =>
      new SallyportError('NOT_JOINED', { node, directory: this.directory, problem }, cause);
    let credentials: EdgeCredentials | undefined;
    try {
      credentials = await this.#read(node);
    } catch (error) {
      throw unusable(describeError(error), error);
    }
    if (!credentials) return undefined;
    const problem = checkPair(credentials);
    if (problem !== undefined) throw unusable(problem);
    return credentials;
  }

  /**
   * Makes the folder, and writes into it. Called before a token is used up, which works once.
   * @returns takes back what was made, where nothing was saved
   * @throws NODE_FOLDER_UNUSABLE
   */
  async prepare(): Promise<() => Promise<void>> {
    try {
      const made = makeFolder(this.directory);
      // The folder may have been there before, made by a careless hand.
      await chmod(this.directory, 0o700);
      const ignored = join(this.directory, '.gitignore');
      await writeFile(ignored, '*\n');
      return async () => {
        if (!made) return;
        await rm(ignored, { force: true });
        // Not empty: somebody else uses it by now.
        await rmdir(this.directory).catch(() => {});
      };
    } catch (cause) {
      const details = { directory: this.directory, problem: describeError(cause) };
      throw new SallyportError('NODE_FOLDER_UNUSABLE', details, cause);
    }
  }

  /** Replaces what is stored, all or nothing; on return it is on the disk. @throws NODE_FOLDER_UNUSABLE */
  async save(credentials: EdgeCredentials): Promise<void> {
    await this.prepare();
    const name = `generation-${randomBytes(8).toString('hex')}`;
    const folder = join(this.directory, name);
    await mkdir(folder, { mode: 0o700 });
    await writeNew(join(folder, 'key.pem'), credentials.key);
    await writeNew(join(folder, 'certificate.pem'), credentials.certificate);
    await writeNew(join(folder, 'ca.pem'), credentials.ca);
    await syncFolder(folder);

    const before = await this.#current();
    const pointer = join(this.directory, `.${name}`);
    await symlink(name, pointer);
    await rename(pointer, join(this.directory, CURRENT));
    await syncFolder(this.directory);
    await this.#tidy(before);
  }

  /** The name of the set in use. */
  #current(): Promise<string | undefined> {
    return readlink(join(this.directory, CURRENT)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
  }

  async #read(node: string): Promise<EdgeCredentials | undefined> {
    for (let attempt = 1; ; attempt++) {
      const generation = await this.#current();
      if (generation === undefined) return undefined;
      await this.#checkModes(generation);
      // All three from one set: `current` may be replaced, and the set removed, between two reads.
      const read = (name: string) => readFile(join(this.directory, generation, name), 'utf8');
      try {
        const [key, certificate, ca] = await Promise.all(['key.pem', 'certificate.pem', 'ca.pem'].map(read));
        return { node, ca: ca!, certificate: certificate!, key: key! };
      } catch (error) {
        if (attempt === READ_ATTEMPTS || (await this.#current()) === generation) throw error;
      }
    }
  }

  /** @throws when others may put their own files here: whoever does so chooses the hub that is believed */
  async #checkModes(generation: string): Promise<void> {
    if (process.platform === 'win32') return;
    const { mode } = await stat(this.directory);
    if ((mode & 0o002) !== 0)
      throw new Error('every user of this machine may write into the folder; set its mode to 0700');
    const key = join(this.directory, generation, 'key.pem');
    const found = await stat(key).catch(() => undefined);
    if (found && (found.mode & 0o077) !== 0)
      this.#logger.warn({ file: key }, 'other users can read the private key; set its mode to 0600');
  }

  /**
   * Removes the set that was replaced, and what killed processes left half written. Keys that are not used
   * any more should not lie about; a set that another process is writing right now must stay.
   */
  async #tidy(replaced: string | undefined): Promise<void> {
    const now = Date.now();
    for (const entry of await readdir(this.directory)) {
      const generation = entry.startsWith('.') ? entry.slice(1) : entry;
      if (!GENERATION.test(generation) || generation === (await this.#current())) continue;
      const path = join(this.directory, entry);
      const found = await lstat(path).catch(() => undefined);
      if (generation !== replaced && (!found || now - found.mtimeMs < ORPHAN_MS)) continue;
      await rm(path, { recursive: true, force: true });
    }
  }
}
