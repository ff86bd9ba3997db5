import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { DirectorySecretStore } from './directory/directory-secret-store.ts';

/** The section `secretStore` of the configuration. */
export interface SecretStoreOptions {
  readonly kind: 'directory' | 'kubernetes';
  readonly path: string;
  readonly namespace?: string | undefined;
  readonly context?: string | undefined;
  readonly resyncMs: number;
  readonly requestTimeoutMs: number;
}

/**
 * The store the configuration names. The Kubernetes client is loaded only when it is wanted: its import costs
 * 0.7 s and 88 MB.
 */
export async function openSecretStore(
  components: { clock: Clock; log: Logger; metrics: Metrics },
  options: SecretStoreOptions,
): Promise<SecretStore> {
  if (options.kind === 'directory') return new DirectorySecretStore(components, options);
  const { KubeSecretStore } = await import('./kubernetes/kube-secret-store.ts');
  return KubeSecretStore.connect(components, options);
}
