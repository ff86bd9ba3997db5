import { rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { DirectorySecretStore } from '../../src/secrets/directory/directory-secret-store.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import {
  CONTRACT_RESYNC_MS,
  describeSecretStoreContract,
  type SecretStoreHarness,
} from './secret-store.contract.ts';
import { describeSharedRecordContract } from './shared-record.contract.ts';

async function makeHarness(): Promise<SecretStoreHarness> {
  const path = join(temporaryFolder(), 'secrets');
  const stores: DirectorySecretStore[] = [];
  const open = () => {
    const store = new DirectorySecretStore(
      { clock: systemClock, log: silentLogger, metrics: createMetrics({ process: false }) },
      { path, resyncMs: CONTRACT_RESYNC_MS },
    );
    stores.push(store);
    return store;
  };
  return {
    store: open(),
    peer: async () => open(),
    remove: (name) => unlink(join(path, `${name}.yaml`)),
    // A file where the folder was: it can neither be read nor made, whatever the rights of the user.
    breakDown: async () => {
      await rename(path, `${path}-away`).catch(() => {});
      await writeFile(path, '');
    },
    repair: async () => {
      await unlink(path);
      await rename(`${path}-away`, path).catch(() => {});
    },
    [Symbol.asyncDispose]: async () => {
      for (const store of stores) await store.close();
    },
  };
}

describeSecretStoreContract('DirectorySecretStore', makeHarness);
describeSharedRecordContract('DirectorySecretStore', makeHarness);
