import type { Unsubscribe } from '../core/property.ts';

/** A Kubernetes Secret, reduced to what a gateway needs. */
export interface Secret {
  readonly name: string;
  /** `Opaque` by default; `kubernetes.io/tls` for the Secrets of cert-manager. */
  readonly type?: string;
  readonly data: Readonly<Record<string, Uint8Array>>;
  /** Opaque resource version. Everything that was read has one. */
  readonly version?: string;
}

/**
 * Every method may throw SECRET_STORE_UNAVAILABLE (worth a retry), SECRET_STORE_FORBIDDEN or
 * SECRET_MALFORMED.
 */
export interface SecretStore {
  /** Where the Secrets are, for messages: a folder, or `namespace x at https://…`. */
  readonly location: string;
  /** Undefined only when the store definitely said that there is none. */
  get(name: string, signal?: AbortSignal): Promise<Secret | undefined>;
  /** @throws SECRET_ALREADY_EXISTS */
  create(secret: Secret, signal?: AbortSignal): Promise<Secret>;
  /** Replaces exactly the version in `secret.version`. @throws SECRET_CONFLICT, SECRET_NOT_FOUND */
  replace(secret: Secret & { readonly version: string }, signal?: AbortSignal): Promise<Secret>;
  /**
   * Calls `onSnapshot` with all the named Secrets after every change and at every periodic full read, until
   * it is unsubscribed. Changes that come together are told together. A Secret that exists and cannot be read
   * keeps its last readable state in the snapshot; `unreadable` names it and says what is wrong. The store
   * gives its troubles to `onError` and recovers by itself. A watch never ends by itself.
   */
  watch(
    names: readonly string[],
    onSnapshot: (snapshot: SecretSnapshot, unreadable?: ReadonlyMap<string, string>) => void,
    onError: (error: unknown) => void,
  ): Unsubscribe;
  /** Why the store cannot be used now; undefined when the store answered the last time. */
  problem(): string | undefined;
  close(): Promise<void>;
}

/** From the name to the Secret; undefined where there is none. */
export type SecretSnapshot = ReadonlyMap<string, Secret | undefined>;
