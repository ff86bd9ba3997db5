import type { Secret, SecretSnapshot, SecretStore } from '../../contracts/secret-store.ts';
import type { Timer } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Unsubscribe } from '../../core/property.ts';
import { assertSecretName } from '../secret-manifest.ts';
import { type StoreComponents, StoreHealth } from '../store-health.ts';
import { KubeClient, type KubeClientOptions } from './kube-client.ts';
import { type KubeVerb, translateKubeError } from './kube-errors.ts';
import { KubeReflector, type ReflectorSource } from './kube-reflector.ts';
import { type KubeSecret, parseSecret, printSecret } from './kube-secret.ts';
import { KubeSecretReads } from './kube-secret-reads.ts';

/** A watch is ended by the server after a time between these, seconds (client-go's reflector: 300–600). */
const WATCH_SECONDS = { min: 300, max: 590 };
/**
 * The API sends a bookmark about once a minute; without a byte for this long the connection is dead,
 * milliseconds.
 */
const IDLE_TIMEOUT_MS = 180_000;
/**
 * Each Secret has a watch of its own. What several of them tell within this time is one change, milliseconds.
 */
const GATHER_MS = 20;

export interface KubeSecretStoreOptions extends KubeClientOptions {
  /** Period of the full re-read that backs up the watch, milliseconds. */
  readonly resyncMs: number;
}

interface Watching {
  close(): Promise<void>;
}

/**
 * Secrets of one namespace over the Kubernetes API. Needs get, list, watch, update on the named Secrets, and
 * create.
 */
export class KubeSecretStore implements SecretStore {
  readonly location: string;
  readonly #components: StoreComponents;
  readonly #client: KubeClient;
  readonly #health: StoreHealth;
  readonly #resyncMs: number;
  readonly #path: string;
  readonly #reads: KubeSecretReads;
  readonly #watching = new Set<Watching>();
  readonly #closed = new AbortController();

  /** @throws CONFIG_INVALID when the namespace cannot be one */
  constructor(
    components: StoreComponents & { client: KubeClient },
    { resyncMs }: Pick<KubeSecretStoreOptions, 'resyncMs'>,
  ) {
    assertNamespace(components.client.namespace);
    this.#components = components;
    this.#client = components.client;
    this.#health = new StoreHealth(components);
    this.#resyncMs = resyncMs;
    this.#path = `/api/v1/namespaces/${this.#client.namespace}/secrets`;
    this.#reads = new KubeSecretReads({ client: components.client, path: this.#path });
    this.location = `namespace ${this.#client.namespace} at ${this.#client.server}`;
  }

  /**
   * Finds the cluster and the credentials; nothing is called yet. @throws CONFIG_INVALID when there are none
   */
  static async connect(
    components: StoreComponents,
    options: KubeSecretStoreOptions,
  ): Promise<KubeSecretStore> {
    const client = await KubeClient.load(components, options);
    return new KubeSecretStore({ ...components, client }, options);
  }

  get(name: string, signal?: AbortSignal): Promise<Secret | undefined> {
    return this.#run('get', { name, signal }, async (ended) => {
      const found = await this.#reads.get(name, ended);
      return found && parseSecret(found, name);
    });
  }

  create(secret: Secret, signal?: AbortSignal): Promise<Secret> {
    const { name } = secret;
    return this.#run('create', { name, signal }, async (ended) => {
      const created = (await this.#client.call({
        method: 'POST',
        path: this.#path,
        body: { apiVersion: 'v1', kind: 'Secret', metadata: { name }, ...printSecret(secret) },
        signal: ended,
      })) as KubeSecret;
      return this.#stored(created, name);
    });
  }

  replace(secret: Secret & { readonly version: string }, signal?: AbortSignal): Promise<Secret> {
    const { name } = secret;
    return this.#run('update', { name, signal }, async (ended) => {
      // A PUT replaces labels, annotations and owners too, so they have to be known.
      const present = this.#reads.known(name, secret.version) ?? (await this.#reads.get(name, ended));
      if (!present) throw new SallyportError('SECRET_NOT_FOUND', { secret: name });
      if (present.metadata.resourceVersion !== secret.version)
        throw new SallyportError('SECRET_CONFLICT', { secret: name });
      const replaced = (await this.#client.call({
        method: 'PUT',
        path: `${this.#path}/${name}`,
        body: { ...present, ...printSecret({ ...secret, type: secret.type ?? present.type ?? 'Opaque' }) },
        signal: ended,
      })) as KubeSecret;
      return this.#stored(replaced, name);
    });
  }

  watch(
    names: readonly string[],
    onSnapshot: (snapshot: SecretSnapshot) => void,
    onError: (error: unknown) => void,
  ): Unsubscribe {
    for (const name of names) assertSecretName(name);
    this.#closed.signal.throwIfAborted();
    const known = new Map<string, Secret | undefined>();
    let active = true;
    const tell = (callback: () => void) => {
      if (!active) return;
      try {
        callback();
      } catch (error) {
        this.#components.log.error({ err: error }, 'a follower of the secret store failed');
      }
    };
    const failed = (error: unknown, name: string, verb: KubeVerb) => {
      if (!active) return;
      const translated = translateKubeError(error, verb, name);
      this.#health.failed(translated);
      tell(() => onError(translated));
    };
    let gathering: Timer | undefined;
    const emit = () => {
      gathering = undefined;
      tell(() => onSnapshot(new Map(names.map((name) => [name, known.get(name)]))));
    };
    const gather = () => {
      // A Secret that was never read is not known to be absent, so there is no snapshot yet.
      if (!active || !names.every((name) => known.has(name))) return;
      if (names.length === 1) emit();
      else gathering ??= this.#components.clock.setTimeout(emit, GATHER_MS);
    };
    const reflectors = [...new Set(names)].map((name) => {
      const reflector = new KubeReflector(
        { clock: this.#components.clock, source: this.#source(name) },
        {
          onObject: (object) => {
            try {
              const next = object && this.#stored(object, name);
              const isChange = !known.has(name) || known.get(name)?.version !== next?.version;
              known.set(name, next);
              this.#health.succeeded();
              if (isChange) gather();
            } catch (error) {
              failed(error, name, 'watch');
            }
          },
          onError: (error) => failed(error, name, 'watch'),
          onWatching: (isUp) => this.#health.watching(name, isUp),
        },
      );
      return { name, reflector };
    });
    const resync = async () => {
      const results = await Promise.all(
        reflectors.map(({ name, reflector }) =>
          reflector.resync().then(
            () => true,
            (error: unknown) => {
              failed(error, name, 'list');
              return false;
            },
          ),
        ),
      );
      if (!active || results.includes(false)) return;
      this.#health.synced();
      gather();
    };
    let resyncing: Promise<void> | undefined;
    const timer = this.#components.clock.setInterval(() => {
      resyncing ??= resync().finally(() => {
        resyncing = undefined;
      });
    }, this.#resyncMs);
    const watching: Watching = {
      close: async () => {
        active = false;
        timer.cancel();
        gathering?.cancel();
        this.#watching.delete(watching);
        await Promise.all([...reflectors.map(({ reflector }) => reflector.stop()), resyncing]);
      },
    };
    this.#watching.add(watching);
    return () => void watching.close();
  }

  problem(): string | undefined {
    return this.#health.problem();
  }

  async close(): Promise<void> {
    if (!this.#closed.signal.aborted)
      this.#closed.abort(
        new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'the store has been closed' }),
      );
    await Promise.all([...this.#watching].map((watching) => watching.close()));
    await this.#client.close();
  }

  #stored(answer: KubeSecret, name: string): Secret {
    const secret = parseSecret(answer, name);
    this.#reads.keep(answer);
    return secret;
  }

  /** Only so can a Role limited to named Secrets allow list and watch (requirement A6). */
  #source(name: string): ReflectorSource {
    const fieldSelector = `metadata.name=${name}`;
    return {
      list: (signal) => this.#reads.list(name, signal),
      watch: (resourceVersion, signal) => {
        const { min, max } = WATCH_SECONDS;
        const timeoutSeconds = String(Math.round(min + (max - min) * Math.random()));
        return this.#client.lines({
          method: 'GET',
          path: this.#path,
          query: { watch: '1', fieldSelector, resourceVersion, allowWatchBookmarks: 'true', timeoutSeconds },
          idleTimeoutMs: IDLE_TIMEOUT_MS,
          signal,
        });
      },
    };
  }

  /** Checks the name, keeps the metrics, and turns the API's errors into ours. */
  async #run<T>(
    verb: KubeVerb,
    { name, signal }: { readonly name: string; readonly signal?: AbortSignal | undefined },
    task: (ended: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const ended = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    ended.throwIfAborted();
    assertSecretName(name);
    try {
      const result = await task(ended);
      this.#health.succeeded();
      return result;
    } catch (error) {
      if (ended.aborted) throw ended.reason;
      const translated = translateKubeError(error, verb, name);
      this.#health.failed(translated);
      throw translated;
    }
  }
}

function assertNamespace(namespace: string): void {
  if (namespace.length > 63 || !/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(namespace))
    throw new SallyportError('CONFIG_INVALID', { problem: 'secretStore.namespace is not a DNS label' });
}
