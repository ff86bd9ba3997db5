import { afterAll } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { KubeSecretStore } from '../../src/secrets/kubernetes/kube-secret-store.ts';
import { RealCluster } from '../support/kube/real-cluster.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { CONTRACT_RESYNC_MS, describeSecretStoreContract } from './secret-store.contract.ts';

/** The contract of a secret store, on the cluster of a kubeconfig, in namespaces of its own. */
export function describeRealCluster(source: () => string): void {
  const folder = temporaryFolder();
  const before = process.env.KUBECONFIG;
  afterAll(() => {
    if (before === undefined) delete process.env.KUBECONFIG;
    else process.env.KUBECONFIG = before;
  });

  describeSecretStoreContract('KubeSecretStore on a real cluster', async () => {
    const cluster = await RealCluster.open(source(), folder);
    process.env.KUBECONFIG = cluster.kubeconfig;
    const stores: KubeSecretStore[] = [];
    const open = async () => {
      const store = await KubeSecretStore.connect(
        { clock: systemClock, log: silentLogger, metrics: createMetrics({ process: false }) },
        { namespace: cluster.namespace, resyncMs: CONTRACT_RESYNC_MS, requestTimeoutMs: 5_000 },
      );
      stores.push(store);
      return store;
    };
    return {
      store: await open(),
      peer: open,
      remove: (name) => cluster.removeSecret(name),
      breakDown: async () => cluster.relay.cut(),
      repair: async () => cluster.relay.mend(),
      [Symbol.asyncDispose]: async () => {
        for (const store of stores) await store.close();
        await cluster[Symbol.asyncDispose]();
      },
    };
  });
}
