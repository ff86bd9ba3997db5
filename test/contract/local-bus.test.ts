import { LocalBus } from '../../src/bus/local/local-bus.ts';
import { configSchema } from '../../src/config/schema.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { ManualClock } from '../fakes/manual-clock.ts';
import { messageBusContract } from './message-bus.contract.ts';

messageBusContract('LocalBus', async (limits = { messagesPerNode: 100 }) => {
  const { queue } = configSchema.parse({}).hub;
  const bus = new LocalBus(
    { clock: new ManualClock(), log: silentLogger, metrics: createMetrics({ process: false }) },
    () => ({ ...queue, ...limits }),
  );
  await bus.start();
  return { bus, dispose: () => bus.stop() };
});
