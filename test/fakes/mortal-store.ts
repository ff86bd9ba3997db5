import type { Secret, SecretStore } from '../../src/contracts/secret-store.ts';
import { SallyportError } from '../../src/core/errors.ts';

/**
 * The store as a process sees it that is killed: it passes on everything until the write number `at`, then
 * fails whatever it is asked. `effect`: whether that write still happens.
 */
export class MortalStore implements SecretStore {
  readonly location = 'memory';
  readonly #inner: SecretStore;
  readonly #at: number;
  readonly #effect: 'before' | 'after';
  writes = 0;

  constructor(inner: SecretStore, { at, effect }: { at: number; effect: 'before' | 'after' }) {
    this.#inner = inner;
    this.#at = at;
    this.#effect = effect;
  }

  get isDead() {
    return this.writes >= this.#at;
  }

  async get(name: string) {
    this.#live();
    return this.#inner.get(name);
  }

  create = (secret: Secret) => this.#write(() => this.#inner.create(secret));
  replace = (secret: Secret & { version: string }) => this.#write(() => this.#inner.replace(secret));
  watch: SecretStore['watch'] = (names, onSnapshot, onError) =>
    this.#inner.watch(names, (snapshot) => this.isDead || onSnapshot(snapshot), onError);
  problem = () => undefined;
  close = async () => {};

  async #write<T>(write: () => Promise<T>): Promise<T> {
    this.#live();
    this.writes++;
    if (this.isDead && this.#effect === 'before') this.#live();
    const result = await write();
    this.#live();
    return result;
  }

  #live() {
    if (this.isDead)
      throw new SallyportError('SECRET_STORE_UNAVAILABLE', { problem: 'the process was killed' });
  }
}
