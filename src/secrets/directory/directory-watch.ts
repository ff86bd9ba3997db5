import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Clock, Timer } from '../../core/clock.ts';

/** Changes this close together are read once, milliseconds. */
const QUIET_MS = 10;
/** An endless burst is read at least this often, milliseconds. */
const BURST_MS = 300;
/** How often a folder that is away is looked for, milliseconds. */
const LOOK_MS = 500;

export interface DirectoryWatchOptions {
  readonly path: string;
  readonly resyncMs: number;
  /** Whether a change of this file matters. */
  readonly concerns: (file: string) => boolean;
  /**
   * Reads everything; `periodic` when a full read is due anyway. Must not reject. Never runs twice at once.
   */
  readonly read: (periodic: boolean) => Promise<void>;
  /** Told before each read whether changes are seen by themselves. */
  readonly onWatching?: (isUp: boolean) => void;
}

/**
 * Decides *when* a folder is read: at once, after its files changed, and every `resyncMs` whatever happened.
 * A folder that is missing, removed or replaced by another is found again.
 */
export class DirectoryWatch {
  readonly #clock: Clock;
  readonly #options: DirectoryWatchOptions;
  readonly #resync: Timer;
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;
  #quiet: Timer | undefined;
  #look: Timer | undefined;
  #burstSince: number | undefined;
  #wanted: 'change' | 'full' | undefined;
  #reading = false;
  #closed = false;

  constructor(components: { readonly clock: Clock }, options: DirectoryWatchOptions) {
    this.#clock = components.clock;
    this.#options = options;
    this.#resync = this.#clock.setInterval(() => this.#request('full'), options.resyncMs);
    this.#request('full');
  }

  close(): void {
    this.#closed = true;
    this.#resync.cancel();
    this.#quiet?.cancel();
    this.#look?.cancel();
    this.#unwatch();
  }

  #request(kind: 'change' | 'full'): void {
    if (this.#closed) return;
    if (this.#wanted !== 'full') this.#wanted = kind;
    if (!this.#reading) void this.#readAll();
  }

  async #readAll(): Promise<void> {
    this.#reading = true;
    while (this.#wanted !== undefined && !this.#closed) {
      const periodic = this.#wanted === 'full';
      this.#wanted = undefined;
      // First watch, then read: a change in between is seen by one of the two.
      await this.#attach();
      this.#options.onWatching?.(this.#watcher !== undefined);
      if (!this.#closed) await this.#options.read(periodic);
    }
    this.#reading = false;
  }

  /** Watches the folder that is at the path now. */
  async #attach(): Promise<void> {
    const found = await identify(this.#options.path);
    if (this.#closed) return;
    if (found !== this.#watched) this.#unwatch();
    if (found && !this.#watcher) {
      try {
        this.#watcher = watch(this.#options.path, { persistent: false }, (_, file) => this.#changed(file));
        this.#watcher.on('error', () => this.#unwatch());
        this.#watched = found;
      } catch {
        // No watch to be had (too many, or the folder went away): the periodic read and the look-out remain.
      }
    }
    this.#lookLater();
  }

  /** A look-out under way and a read may both come here: there is one timer nevertheless. */
  #lookLater(): void {
    this.#look?.cancel();
    this.#look = this.#clock.setTimeout(() => void this.#lookOut(), LOOK_MS);
  }

  /** A removed folder does not always say so; and only looking finds one that comes into being. */
  async #lookOut(): Promise<void> {
    const found = await identify(this.#options.path);
    if (this.#closed) return;
    if (found !== this.#watched) this.#request('change');
    else this.#lookLater();
  }

  #changed(file: string | null): void {
    if (this.#closed) return;
    // inotify(7) names the folder itself when that is removed or moved; its watcher says nothing from then
    // on.
    if (file === basename(this.#options.path)) this.#unwatch();
    else if (file !== null && !this.#options.concerns(file)) return;
    const now = this.#clock.monotonic();
    this.#burstSince ??= now;
    this.#quiet?.cancel();
    const waitMs = Math.max(0, Math.min(QUIET_MS, this.#burstSince + BURST_MS - now));
    this.#quiet = this.#clock.setTimeout(() => {
      this.#burstSince = undefined;
      this.#request('change');
    }, waitMs);
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = undefined;
  }
}

/** Tells one folder from another at the same path; the number of a removed one may be used again at once. */
async function identify(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found && `${found.dev}:${found.ino}:${found.birthtimeMs}`;
}
