import type { Secret, SecretStore } from '../../src/contracts/secret-store.ts';
import { SallyportError } from '../../src/core/errors.ts';

/** Secrets in memory with real compare-and-set, shared by any number of replicas in a test. */
export class MemoryStore implements SecretStore {
  readonly location = 'memory';
  readonly secrets = new Map<string, Secret & { version: string }>();
  /** Names in the order they were written. */
  readonly writes: string[] = [];
  reads = 0;
  /** Thrown by every access while set. */
  failure: SallyportError | undefined;
  #version = 0;

  async get(name: string): Promise<Secret | undefined> {
    await this.#access();
    this.reads++;
    return this.secrets.get(name);
  }

  async create(secret: Secret): Promise<Secret> {
    await this.#access();
    if (this.secrets.has(secret.name))
      throw new SallyportError('SECRET_ALREADY_EXISTS', { secret: secret.name });
    return this.#write(secret);
  }

  async replace(secret: Secret & { readonly version: string }): Promise<Secret> {
    await this.#access();
    const stored = this.secrets.get(secret.name);
    if (!stored) throw new SallyportError('SECRET_NOT_FOUND', { secret: secret.name });
    if (stored.version !== secret.version)
      throw new SallyportError('SECRET_CONFLICT', { secret: secret.name });
    return this.#write(secret);
  }

  watch(): () => void {
    return () => {};
  }

  async close(): Promise<void> {}

  text(name: string, key: string): string {
    return Buffer.from(this.secrets.get(name)?.data[key] ?? []).toString('utf8');
  }

  /** Every access takes a turn, so that replicas interleave. */
  async #access(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure) throw this.failure;
  }

  #write(secret: Secret): Secret {
    const written = { ...secret, version: String(++this.#version) };
    this.secrets.set(secret.name, written);
    this.writes.push(secret.name);
    return written;
  }
}
