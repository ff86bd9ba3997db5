import type { LoadedConfig } from '../config/load.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import { systemClock } from '../core/clock.ts';
import type { Terminal } from './terminal.ts';
import { terminalLog } from './terminal-log.ts';

/**
 * Gives `task` the store the configuration names, and closes it. What the store logs goes to standard error,
 * errors alone.
 */
export async function withStore<T>(
  terminal: Terminal,
  { config }: Pick<LoadedConfig, 'config'>,
  task: (store: SecretStore) => Promise<T>,
): Promise<T> {
  const [{ openSecretStore }, { createMetrics }] = await Promise.all([
    import('../secrets/open-secret-store.ts'),
    import('../core/metrics.ts'),
  ]);
  const log = terminalLog(terminal, 'error');
  const components = { clock: systemClock, log, metrics: createMetrics({ process: false }) };
  const store = await openSecretStore(components, config.secretStore);
  try {
    return await task(store);
  } finally {
    await store.close();
  }
}
