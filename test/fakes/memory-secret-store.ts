import type { Secret, SecretSnapshot, SecretStore } from '../../src/contracts/secret-store.ts';
import { SallyportError } from '../../src/core/errors.ts';
import type { Unsubscribe } from '../../src/core/property.ts';

export type StoreCall = 'get' | 'create' | 'replace';
/** Called before each call; throws to make it fail, returns a promise to make it slow. */
export type Fault = (call: StoreCall, name: string) => void | Promise<void>;

/**
 * Secrets in memory with real compare-and-set. `connect()` gives further stores on the same Secrets, as
 * replicas have; each has its own faults. Watches tell what was changed in one go together; `watchDead`
 * silences them, `resync()` is the periodic full read.
 */
export class MemorySecretStore implements SecretStore {
  readonly location = 'memory';
  readonly #shared: { secrets: Map<string, Secret>; next: number; stores: Set<MemorySecretStore> };
  /** Each is told of a change of one Secret, or without a name of a full read. */
  readonly #watches = new Set<(changed?: string) => void>();
  fault: Fault = () => {};
  watchDead = false;
  /** Every write that succeeded, of all stores on these Secrets. */
  readonly writes: { call: 'create' | 'replace'; name: string }[];
  readonly calls: { call: StoreCall; name: string }[] = [];

  constructor(sharedWith?: MemorySecretStore) {
    this.#shared = sharedWith ? sharedWith.#shared : { secrets: new Map(), next: 1, stores: new Set() };
    this.writes = sharedWith ? sharedWith.writes : [];
    this.#shared.stores.add(this);
  }

  connect(): MemorySecretStore {
    return new MemorySecretStore(this);
  }

  async get(name: string, signal?: AbortSignal): Promise<Secret | undefined> {
    await this.#enter('get', name, signal);
    return this.peek(name);
  }

  async create(secret: Secret, signal?: AbortSignal): Promise<Secret> {
    await this.#enter('create', secret.name, signal);
    if (this.#shared.secrets.has(secret.name))
      throw new SallyportError('SECRET_ALREADY_EXISTS', { secret: secret.name });
    this.writes.push({ call: 'create', name: secret.name });
    return this.put(secret);
  }

  async replace(secret: Secret & { readonly version: string }, signal?: AbortSignal): Promise<Secret> {
    await this.#enter('replace', secret.name, signal);
    const stored = this.#shared.secrets.get(secret.name);
    if (!stored) throw new SallyportError('SECRET_NOT_FOUND', { secret: secret.name });
    if (stored.version !== secret.version)
      throw new SallyportError('SECRET_CONFLICT', { secret: secret.name });
    this.writes.push({ call: 'replace', name: secret.name });
    return this.put(secret);
  }

  watch(
    names: readonly string[],
    onSnapshot: (snapshot: SecretSnapshot) => void,
    _onError: (error: unknown) => void,
  ): Unsubscribe {
    let isDue = false;
    const tell = (changed?: string) => {
      if (isDue || (changed !== undefined && !names.includes(changed))) return;
      isDue = true;
      queueMicrotask(() => {
        isDue = false;
        if (this.#watches.has(tell)) onSnapshot(new Map(names.map((name) => [name, this.peek(name)])));
      });
    };
    this.#watches.add(tell);
    tell();
    return () => this.#watches.delete(tell);
  }

  problem(): undefined {}

  async close(): Promise<void> {
    this.#watches.clear();
    this.#shared.stores.delete(this);
  }

  get watchers(): number {
    return this.#watches.size;
  }

  // — the hand of the operator: no faults, no compare-and-set —

  peek(name: string): Secret | undefined {
    const stored = this.#shared.secrets.get(name);
    return stored && { ...stored, data: { ...stored.data } };
  }

  put(secret: Secret): Secret {
    const stored = { ...secret, data: { ...secret.data }, version: String(this.#shared.next++) };
    this.#shared.secrets.set(secret.name, stored);
    this.#tellAll(secret.name);
    return stored;
  }

  remove(name: string): void {
    this.#shared.secrets.delete(name);
    this.#tellAll(name);
  }

  /** The periodic full read of this store. */
  resync(): void {
    for (const tell of [...this.#watches]) tell();
  }

  #tellAll(changed: string): void {
    for (const store of this.#shared.stores) {
      if (store.watchDead) continue;
      for (const tell of [...store.#watches]) tell(changed);
    }
  }

  async #enter(call: StoreCall, name: string, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    this.calls.push({ call, name });
    await this.fault(call, name);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
