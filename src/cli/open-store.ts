import type { LoadedConfig } from '../config/load.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import { systemClock } from '../core/clock.ts';
import { createLogger } from '../core/log.ts';

/**
 * Gives `task` the store the configuration names, and closes it. What the store logs goes to standard error,
 * errors alone.
 */
export async function withStore<T>(
  { config }: Pick<LoadedConfig, 'config'>,
  task: (store: SecretStore) => Promise<T>,
): Promise<T> {
  const [{ openSecretStore }, { createMetrics }] = await Promise.all([
    import('../secrets/open-secret-store.ts'),
    import('../core/metrics.ts'),
  ]);
  const log = createLogger({ level: 'error', format: process.stderr.isTTY ? 'pretty' : 'json' });
  const components = { clock: systemClock, log, metrics: createMetrics({ process: false }) };
  const store = await openSecretStore(components, config.secretStore);
  try {
    return await task(store);
  } finally {
    await store.close();
  }
}
