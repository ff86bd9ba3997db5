import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { KubeSecretStore } from '../../src/secrets/kubernetes/kube-secret-store.ts';
import { KubeApi } from '../support/kube/kube-api.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import {
  CONTRACT_RESYNC_MS,
  describeSecretStoreContract,
  type SecretStoreHarness,
} from './secret-store.contract.ts';
import { describeSharedRecordContract } from './shared-record.contract.ts';

let folder: string;
const before = process.env.KUBECONFIG;
beforeAll(async () => {
  folder = temporaryFolder();
});
afterAll(async () => {
  if (before === undefined) delete process.env.KUBECONFIG;
  else process.env.KUBECONFIG = before;
});

async function makeHarness(): Promise<SecretStoreHarness> {
  const api = await KubeApi.start();
  process.env.KUBECONFIG = join(folder, 'config');
  await writeFile(process.env.KUBECONFIG, api.kubeconfig());
  const stores: KubeSecretStore[] = [];
  let ended = () => {};
  const open = async () => {
    const store = await KubeSecretStore.connect(
      { clock: systemClock, log: silentLogger, metrics: createMetrics({ process: false }) },
      { resyncMs: CONTRACT_RESYNC_MS, requestTimeoutMs: 2_000 },
    );
    stores.push(store);
    return store;
  };
  return {
    store: await open(),
    peer: open,
    remove: async (name) => api.remove(name),
    breakDown: async () => {
      ended = api.fail({}, { status: 500, reason: 'InternalError' });
      api.endWatches('reset');
    },
    repair: async () => ended(),
    [Symbol.asyncDispose]: async () => {
      for (const store of stores) await store.close();
      await api[Symbol.asyncDispose]();
    },
  };
}

describeSecretStoreContract('KubeSecretStore', makeHarness);
describeSharedRecordContract('KubeSecretStore', makeHarness);
