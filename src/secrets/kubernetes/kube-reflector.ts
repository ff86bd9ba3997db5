import { backoffDelayMs } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { KubeApiError, saysExpired } from './kube-errors.ts';

/** Waits after a failure, milliseconds (client-go's reflector: 0.8–30 s). */
const BACKOFF = { minMs: 1_000, maxMs: 30_000 };
/** A watch that ends sooner was not ended by its time-out, milliseconds. */
const SHORT_WATCH_MS = 5_000;
/** After a watch of this length the next failure is a new one, milliseconds. */
const LONG_WATCH_MS = 30_000;

/** What the API keeps, as far as a reflector looks into it. */
export interface KubeObject {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
}

export interface ReflectorSource {
  /** The object or undefined, as of `version`. */
  list(signal: AbortSignal): Promise<{ readonly object: KubeObject | undefined; readonly version: string }>;
  /** The raw events since `version`. */
  watch(version: string, signal: AbortSignal): AsyncIterable<unknown>;
}

export interface ReflectorCallbacks {
  /** The object is this now, or does not exist. Called also when it has not changed. */
  readonly onObject: (object: KubeObject | undefined) => void;
  readonly onError: (error: unknown) => void;
  /** True when a watch is asked for, false when it failed. */
  readonly onWatching?: (isUp: boolean) => void;
}

/**
 * Follows one object: list, watch from there, and again for ever. An expired version is listed anew at once,
 * every other failure after a jittered back-off. Ends only by `stop`, after which nothing is called or sent
 * any more.
 */
export class KubeReflector {
  readonly #clock: Clock;
  readonly #source: ReflectorSource;
  readonly #callbacks: ReflectorCallbacks;
  readonly #stopped = new AbortController();
  readonly #done: Promise<void>;
  #watch = new AbortController();
  #version: string | undefined;
  #exists = false;

  constructor(
    components: { readonly clock: Clock; readonly source: ReflectorSource },
    callbacks: ReflectorCallbacks,
  ) {
    this.#clock = components.clock;
    this.#source = components.source;
    this.#callbacks = callbacks;
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#watch.abort();
    await this.#done;
  }

  /**
   * Reads the object beside the watch. Should that know more than the watch has told, the watch is begun
   * anew.
   *
   * @throws what the source throws
   */
  async resync(): Promise<void> {
    const before = this.#version;
    const { object, version } = await this.#source.list(this.#stopped.signal);
    if (this.#stopped.signal.aborted) return;
    const missed = object ? before && isNewer(object.metadata.resourceVersion, before) : this.#exists;
    if (missed && this.#version === before) this.#watch.abort();
    this.#accept(object, version);
  }

  async #run(): Promise<void> {
    let failures = 0;
    // Answers that lead nowhere: an expired version is listed at once, but not again and again.
    let idle = 0;
    while (!this.#stopped.signal.aborted) {
      let watchedSince: number | undefined;
      try {
        if (this.#version === undefined || failures > 0) {
          const { object, version } = await this.#source.list(this.#stopped.signal);
          if (this.#stopped.signal.aborted) return;
          // Taken as it is: after a restore of the cluster from a backup, versions begin lower.
          this.#version = undefined;
          this.#accept(object, version);
        }
        watchedSince = this.#clock.monotonic();
        this.#callbacks.onWatching?.(true);
        const wasOfUse = await this.#follow(this.#version!);
        failures = 0;
        if (wasOfUse || this.#clock.monotonic() - watchedSince > SHORT_WATCH_MS) idle = 0;
        else await this.#pause(idle++);
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        if (!saysExpired(error)) this.#callbacks.onWatching?.(false);
        if (watchedSince !== undefined && this.#clock.monotonic() - watchedSince > LONG_WATCH_MS)
          failures = 0;
        if (saysExpired(error)) {
          this.#version = undefined;
          if (idle++ === 0) continue;
        } else this.#callbacks.onError(error);
        const askedMs = error instanceof KubeApiError ? (error.retryAfterMs ?? 0) : 0;
        await this.#pause(failures++, askedMs);
      }
    }
  }

  /** Follows one watch to its end, and says whether it was good for something or was ended by ourselves. */
  async #follow(version: string): Promise<boolean> {
    this.#watch = new AbortController();
    const signal = AbortSignal.any([this.#stopped.signal, this.#watch.signal]);
    let count = 0;
    try {
      for await (const event of this.#source.watch(version, signal)) {
        if (signal.aborted) break;
        const { type, object } = parseEvent(event);
        const { resourceVersion } = object.metadata;
        if (type === 'BOOKMARK') {
          if (this.#version === undefined || !isNewer(this.#version, resourceVersion))
            this.#version = resourceVersion;
          continue;
        }
        count++;
        this.#accept(type === 'DELETED' ? undefined : object, resourceVersion);
      }
    } catch (error) {
      if (!this.#watch.signal.aborted) throw error;
    }
    return count > 0 || this.#watch.signal.aborted;
  }

  /** A watch may lag behind a list, so what is older than what is known is passed over. */
  #accept(object: KubeObject | undefined, version: string): void {
    if (this.#version !== undefined && isNewer(this.#version, version)) return;
    this.#version = version;
    this.#exists = object !== undefined;
    this.#callbacks.onObject(object);
  }

  async #pause(attempt: number, atLeastMs = 0): Promise<void> {
    const delayMs = Math.max(atLeastMs, backoffDelayMs(attempt, BACKOFF));
    await this.#clock.sleep(delayMs, this.#stopped.signal).catch(() => {});
  }
}

function parseEvent(event: unknown): { readonly type: string; readonly object: KubeObject } {
  const { type, object } = event as { type?: unknown; object?: Record<string, unknown> };
  if (type === 'ERROR')
    throw new KubeApiError({
      status: Number(object?.code) || 500,
      reason:
        typeof object?.reason === 'string' && /^[A-Za-z]{1,40}$/.test(object.reason) ? object.reason : '',
    });
  const metadata = object?.metadata as { resourceVersion?: unknown } | undefined;
  if (
    !['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'].includes(String(type)) ||
    typeof metadata?.resourceVersion !== 'string'
  )
    throw new Error('an event of the watch is not one that Kubernetes sends');
  return { type: String(type), object: object as unknown as KubeObject };
}

/**
 * Resource versions are decimal numbers that grow (Kubernetes API conventions since 1.35); any other is taken
 * for newer.
 */
function isNewer(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return false;
  return version.length === than.length ? version > than : version.length > than.length;
}
