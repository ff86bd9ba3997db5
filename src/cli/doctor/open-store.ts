import type { Config } from '../../config/schema.ts';
import type { SecretStore } from '../../contracts/secret-store.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { createMetrics } from '../../core/metrics.ts';
import type { KubeClient } from '../../secrets/kubernetes/kube-client.ts';
import { openSecretStore } from '../../secrets/open-secret-store.ts';

export interface OpenedStore {
  readonly store: SecretStore;
  readonly kube: KubeClient | undefined;
  close(): Promise<void>;
}

/**
 * The store as the configuration names it, and the client behind it, which the doctor asks about more than
 * Secrets.
 */
export async function openStore(
  components: { clock: Clock; log: Logger },
  { secretStore }: Config,
): Promise<OpenedStore> {
  const shared = { ...components, metrics: createMetrics({ process: false }) };
  if (secretStore.kind === 'directory') {
    const store = await openSecretStore(shared, secretStore);
    return { store, kube: undefined, close: () => store.close() };
  }
  const [{ KubeClient }, { KubeSecretStore }] = await Promise.all([
    import('../../secrets/kubernetes/kube-client.ts'),
    import('../../secrets/kubernetes/kube-secret-store.ts'),
  ]);
  const kube = await KubeClient.load(shared, secretStore);
  const store = new KubeSecretStore({ ...shared, client: kube }, secretStore);
  return { store, kube, close: () => store.close() };
}
