import { join, resolve } from 'node:path';
import type { Secret, SecretSnapshot, SecretStore } from '../../contracts/secret-store.ts';
import { describeError, isSallyportError, SallyportError } from '../../core/errors.ts';
import { FolderLock } from '../../core/folder-lock.ts';
import type { Unsubscribe } from '../../core/property.ts';
import {
  assertSecretName,
  type Manifest,
  parseSecretManifest,
  printSecretManifest,
} from '../secret-manifest.ts';
import { type StoreComponents, StoreHealth } from '../store-health.ts';
import { DirectoryWatch } from './directory-watch.ts';
import {
  createWhole,
  folderProblem,
  prepareFolder,
  readWhole,
  replaceWhole,
  SUFFIX,
  versionOf,
} from './secret-files.ts';

export interface DirectorySecretStoreOptions {
  /** The folder; created at the first write, 0700; one without Secrets becomes 0700 then. */
  readonly path: string;
  /** Period of the full re-read that backs up the watch, milliseconds. */
  readonly resyncMs: number;
}

type Verb = 'get' | 'create' | 'replace' | 'watch';
const isWrite = (verb: Verb) => verb === 'create' || verb === 'replace';
/** What waiting does not mend: another owner, or a read-only file system. */
const NO_PLACE_TO_WRITE = new Set(['EACCES', 'EPERM', 'EROFS']);

/**
 * Secrets as Kubernetes manifests in a local folder, one file each, that people may read, edit and `kubectl
 * apply`. Several processes may share the folder: creating and replacing are as exclusive as on a cluster.
 * The folder must be on a local file system.
 */
export class DirectorySecretStore implements SecretStore {
  readonly location: string;
  readonly #components: StoreComponents;
  readonly #health: StoreHealth;
  readonly #lock: FolderLock;
  readonly #resyncMs: number;
  readonly #watches = new Set<DirectoryWatch>();
  readonly #readableByOthers = new Set<string>();
  readonly #closed = new AbortController();

  constructor(components: StoreComponents, options: DirectorySecretStoreOptions) {
    this.#components = components;
    this.#health = new StoreHealth(components);
    this.location = resolve(options.path);
    this.#lock = new FolderLock(components, { path: join(this.location, '.lock') });
    this.#resyncMs = options.resyncMs;
  }

  get(name: string, signal?: AbortSignal): Promise<Secret | undefined> {
    return this.#run('get', { name, signal }, async () => (await this.#read(name))?.secret);
  }

  create(secret: Secret, signal?: AbortSignal): Promise<Secret> {
    const { name } = secret;
    return this.#run('create', { name, signal }, async () => {
      const bytes = Buffer.from(printSecretManifest(secret));
      await prepareFolder(this.location, this.#components.clock.now());
      await createWhole(this.location, name + SUFFIX, bytes).catch((error: NodeJS.ErrnoException) => {
        throw error.code === 'EEXIST' ? new SallyportError('SECRET_ALREADY_EXISTS', { secret: name }) : error;
      });
      return this.#parse(name, bytes).secret;
    });
  }

  replace(secret: Secret & { readonly version: string }, signal?: AbortSignal): Promise<Secret> {
    const { name } = secret;
    return this.#run('replace', { name, signal }, async (ended) => {
      if ((await readWhole(this.#file(name))) === undefined)
        throw new SallyportError('SECRET_NOT_FOUND', { secret: name });
      await prepareFolder(this.location, this.#components.clock.now());
      return this.#lock.hold(async (lease) => {
        const present = await readWhole(this.#file(name));
        if (!present) throw new SallyportError('SECRET_NOT_FOUND', { secret: name });
        if (present.version !== secret.version) throw new SallyportError('SECRET_CONFLICT', { secret: name });
        const before = this.#parse(name, present.bytes);
        const type = secret.type ?? before.secret.type;
        // As Kubernetes has it, so that what works here works on a cluster.
        const problem = before.isImmutable ? 'it is immutable' : 'its type cannot be changed';
        if (before.isImmutable || type !== before.secret.type)
          throw new SallyportError('SECRET_MALFORMED', { secret: name, problem });
        const bytes = Buffer.from(printSecretManifest({ ...secret, type: type! }, before.metadata));
        await replaceWhole(this.location, name + SUFFIX, { bytes, beforeSwap: () => lease.assertHeld() });
        return this.#parse(name, bytes).secret;
      }, ended);
    });
  }

  watch(
    names: readonly string[],
    onSnapshot: (snapshot: SecretSnapshot, unreadable?: ReadonlyMap<string, string>) => void,
    onError: (error: unknown) => void,
  ): Unsubscribe {
    for (const name of names) assertSecretName(name);
    this.#closed.signal.throwIfAborted();
    const files = new Set(names.map((name) => name + SUFFIX));
    let last: Map<string, Secret | undefined> = new Map();
    let lastUnreadable = new Map<string, string>();
    let active = true;
    const tell = (callback: () => void) => {
      if (!active) return;
      try {
        callback();
      } catch (error) {
        this.#components.log.error({ err: error }, 'a follower of the secret store failed');
      }
    };
    const watch = new DirectoryWatch(this.#components, {
      path: this.location,
      resyncMs: this.#resyncMs,
      concerns: (file) => files.has(file),
      onWatching: (isUp) => this.#health.watching('folder', isUp),
      read: async (periodic) => {
        // All at once: one after the other, each step of each file would wait anew for a busy machine.
        const read = await Promise.allSettled(
          names.map((name) =>
            this.#run('watch', { name }, async () => (await this.#read(name, last.get(name)))?.secret),
          ),
        );
        const next = new Map<string, Secret | undefined>();
        const unreadable = new Map<string, string>();
        for (const [index, outcome] of read.entries()) {
          const name = names[index]!;
          if (outcome.status === 'fulfilled') {
            next.set(name, outcome.value);
            continue;
          }
          const error: unknown = outcome.reason;
          if (isSallyportError(error, 'SECRET_MALFORMED')) unreadable.set(name, error.message);
          tell(() => onError(error));
          if (last.has(name)) next.set(name, last.get(name));
        }
        const isWhole = read.every(({ status }) => status === 'fulfilled');
        if (isWhole && active) this.#health.synced();
        const changed = names.some(
          (name) => last.has(name) !== next.has(name) || last.get(name)?.version !== next.get(name)?.version,
        );
        const brokenOrMended = names.some((name) => lastUnreadable.get(name) !== unreadable.get(name));
        last = next;
        lastUnreadable = unreadable;
        // A Secret that was never read is not known to be absent, so there is no snapshot yet.
        if (next.size === new Set(names).size && (changed || periodic || brokenOrMended))
          tell(() => onSnapshot(new Map(next), unreadable));
      },
    });
    this.#watches.add(watch);
    return () => {
      active = false;
      watch.close();
      this.#watches.delete(watch);
    };
  }

  problem(): string | undefined {
    return this.#health.problem();
  }

  async close(): Promise<void> {
    if (!this.#closed.signal.aborted)
      this.#closed.abort(
        new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'the store has been closed' }),
      );
    for (const watch of this.#watches) watch.close();
    this.#watches.clear();
  }

  #file(name: string): string {
    return join(this.location, name + SUFFIX);
  }

  /** @param known is not parsed again while its file says the same */
  async #read(name: string, known?: Secret): Promise<Pick<Manifest, 'secret'> | undefined> {
    const content = await readWhole(this.#file(name));
    if (content === undefined) return undefined;
    if ((content.mode & 0o077) !== 0 && !this.#readableByOthers.has(name)) {
      this.#readableByOthers.add(name);
      this.#components.log.warn(
        { secret: name, file: this.#file(name) },
        'the file of a secret can be read by other users; set its mode to 0600',
      );
    }
    return known?.version === content.version ? { secret: known } : this.#parse(name, content.bytes);
  }

  #parse(name: string, bytes: Uint8Array): Manifest {
    const manifest = parseSecretManifest(bytes, { name, file: this.#file(name) });
    return { ...manifest, secret: { ...manifest.secret, version: versionOf(bytes) } };
  }

  /** Checks the name, keeps the metrics, and turns the system's errors into ours. */
  async #run<T>(
    verb: Verb,
    { name, signal }: { readonly name: string; readonly signal?: AbortSignal | undefined },
    task: (ended: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const ended = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    ended.throwIfAborted();
    assertSecretName(name);
    try {
      const problem = await folderProblem(this.location);
      if (problem !== undefined) throw this.#unusable(problem);
      const result = await task(ended);
      this.#health.succeeded();
      return result;
    } catch (error) {
      if (ended.aborted && error === ended.reason) throw error;
      const translated = this.#translate(error, verb, name);
      this.#health.failed(translated);
      throw translated;
    }
  }

  #translate(error: unknown, verb: Verb, name: string): unknown {
    if (error instanceof SallyportError) return error;
    const { code } = error as NodeJS.ErrnoException;
    const file = this.#file(name);
    if (code === 'ERR_ACCESS_DENIED') {
      const flags = `--allow-fs-read=${this.location} --allow-fs-write=${this.location}`;
      return this.#unusable(`Node's permission model forbids it; add ${flags} to NODE_OPTIONS`, error);
    }
    if (isWrite(verb) && code !== undefined && NO_PLACE_TO_WRITE.has(code))
      return this.#unusable(`it cannot be written (${code})`, error);
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
      return new SallyportError('SECRET_STORE_FORBIDDEN', { verb, secret: name, file }, error);
    if (code === 'EFTYPE' || code === 'EISDIR')
      return new SallyportError('SECRET_MALFORMED', {
        secret: name,
        problem: `${file}: it is not a plain file of sensible size`,
        file,
      });
    return new SallyportError(
      'SECRET_STORE_UNAVAILABLE',
      { problem: code ? `${code} at ${file}` : describeError(error), file },
      error,
    );
  }

  #unusable(problem: string, cause?: unknown): SallyportError {
    return new SallyportError('SECRET_FOLDER_UNUSABLE', { folder: this.location, problem }, cause);
  }
}
