import type { Secret, SecretSnapshot } from '../../contracts/secret-store.ts';
import { LogSampler } from '../../core/log.ts';
import type { Unsubscribe } from '../../core/property.ts';
import type { CertificateComponents } from './certificate-components.ts';

export interface FollowedSecretsOptions {
  readonly names: readonly string[];
  readonly hubSecret: string;
  /** Secrets that exist and cannot be read, with what is wrong; told at once. */
  readonly onUnreadable: (unreadable: ReadonlyMap<string, string>) => void;
  readonly onChange: () => void;
}

/** The Secrets of the certificates as they were last seen, by the watch or by a write of our own. */
export class FollowedSecrets {
  readonly #components: Pick<CertificateComponents, 'store' | 'clock' | 'log'>;
  readonly #options: FollowedSecretsOptions;
  readonly #sampler: LogSampler;
  #snapshot: SecretSnapshot;
  /** Our last write: a snapshot read before it must not bring the old certificate back. */
  #written: { secret: Secret; replaced: string | undefined } | undefined;
  #unwatch: Unsubscribe = () => {};

  constructor(
    components: Pick<CertificateComponents, 'store' | 'clock' | 'log'>,
    snapshot: SecretSnapshot,
    options: FollowedSecretsOptions,
  ) {
    this.#components = components;
    this.#options = options;
    this.#snapshot = snapshot;
    this.#sampler = new LogSampler({ clock: components.clock });
  }

  get snapshot(): SecretSnapshot {
    return this.#snapshot;
  }

  start(): void {
    const { store, log } = this.#components;
    this.#unwatch = store.watch(
      this.#options.names,
      (snapshot, unreadable) => this.#seen(snapshot, unreadable),
      (error) => {
        const suppressed = this.#sampler.pass('watch');
        if (suppressed !== undefined)
          log.warn({ err: error, suppressed }, 'the watch on the Secrets has trouble');
      },
    );
  }

  stop(): void {
    this.#unwatch();
  }

  /** A Secret that was just read or written. */
  put(secret: Secret): void {
    this.#snapshot = new Map(this.#snapshot).set(secret.name, secret);
  }

  /** The hub Secret that was just read or written. @param replaced the version before; undefined: none */
  putHub(secret: Secret, replaced: string | undefined): void {
    this.#written = { secret, replaced };
    this.put(secret);
  }

  /** From now on the watch is believed whatever it says: it has seen our last write. */
  trustWatch(): void {
    this.#written = undefined;
  }

  #seen(snapshot: SecretSnapshot, unreadable: ReadonlyMap<string, string> = new Map()): void {
    this.#options.onUnreadable(unreadable);
    this.#snapshot = this.#withOwnWrite(snapshot);
    this.#options.onChange();
  }

  #withOwnWrite(snapshot: SecretSnapshot): SecretSnapshot {
    const { hubSecret } = this.#options;
    if (!this.#written || snapshot.get(hubSecret)?.version !== this.#written.replaced) {
      this.#written = undefined;
      return snapshot;
    }
    return new Map(snapshot).set(hubSecret, this.#written.secret);
  }
}
