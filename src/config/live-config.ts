import { statSync } from 'node:fs';
import { describeError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { Property, type Unsubscribe } from '../core/property.ts';
import { type ConfigSources, type LoadedConfig, loadConfig } from './load.ts';
import type { Config } from './schema.ts';
import { listSettings } from './settings.ts';

/**
 * How often the file is looked at, milliseconds. Polling survives editors and ConfigMap mounts, which replace
 * files.
 */
const POLL_MS = 1_000;

/**
 * The configuration of a running gateway. Settings marked `live` follow the file; a change of another one is
 * reported and waits for a restart; an invalid file changes nothing.
 */
export class LiveConfig {
  readonly #property: Property<Config>;
  readonly #sources: ConfigSources;
  readonly #log: Logger;
  readonly #onSignal = () => this.reload();
  #timer: NodeJS.Timeout | undefined;

  constructor({ log }: { log: Logger }, loaded: LoadedConfig, sources: ConfigSources) {
    this.#property = new Property(loaded.config);
    this.#sources = sources;
    this.#log = log;
  }

  get current(): Config {
    return this.#property.value;
  }

  /**
   * What a component needs of the configuration, built anew only after a change: options are asked for with
   * every message.
   */
  view<T>(build: (current: Config) => T): () => T {
    let from: Config | undefined;
    let built: T;
    return () => {
      if (from !== this.current) {
        from = this.current;
        built = build(from);
      }
      return built;
    };
  }

  onChange(listener: (next: Config, previous: Config) => void): Unsubscribe {
    return this.#property.onChange(listener);
  }

  /**
   * Re-reads on SIGHUP and when the file changes. The first look always reads: the file may have changed
   * since it was loaded, while the gateway started.
   */
  watch(): void {
    process.on('SIGHUP', this.#onSignal);
    const { file } = this.#sources;
    if (!file) return;
    let seen: string | undefined;
    this.#timer = setInterval(() => {
      const now = versionOf(file);
      if (now === seen) return;
      seen = now;
      this.reload();
    }, POLL_MS).unref();
  }

  unwatch(): void {
    process.off('SIGHUP', this.#onSignal);
    clearInterval(this.#timer);
  }

  /** @returns the setting paths taken over, and those that need a restart */
  reload(): { applied: readonly string[]; needRestart: readonly string[]; problem?: string } {
    let loaded: LoadedConfig;
    try {
      loaded = loadConfig(this.#sources);
    } catch (error) {
      const problem = describeError(error);
      this.#log.error(
        { file: this.#sources.file, problem },
        'configuration not taken over: it is invalid; the old one stays',
      );
      return { applied: [], needRestart: [], problem };
    }
    const { next, applied, needRestart } = mergeLive(this.current, loaded.config);
    if (needRestart.length > 0) this.#log.warn({ settings: needRestart }, 'changed settings need a restart');
    if (applied.length > 0) {
      this.#property.set(next);
      this.#log.info({ settings: applied }, 'configuration taken over');
    }
    return { applied, needRestart };
  }
}

/** Changes with the file; empty where it cannot be looked at. */
function versionOf(file: string): string {
  try {
    const { ino, mtimeMs } = statSync(file);
    return `${ino} ${mtimeMs}`;
  } catch {
    return '';
  }
}

function mergeLive(
  current: Config,
  wanted: Config,
): { next: Config; applied: string[]; needRestart: string[] } {
  const next = structuredClone(current) as unknown as Record<string, unknown>;
  const applied: string[] = [];
  const needRestart: string[] = [];
  for (const { path, live } of listSettings()) {
    const keys = path.split('.');
    const value = valueAt(wanted, keys);
    if (JSON.stringify(value) === JSON.stringify(valueAt(current, keys))) continue;
    (live ? applied : needRestart).push(path);
    if (live) (valueAt(next, keys.slice(0, -1)) as Record<string, unknown>)[keys.at(-1)!] = value;
  }
  return { next: next as unknown as Config, applied, needRestart };
}

/** The value at a setting path. */
export function valueAt(config: unknown, keys: readonly string[]): unknown {
  return keys.reduce<unknown>((node, key) => (node as Record<string, unknown> | undefined)?.[key], config);
}
