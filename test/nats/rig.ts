import { NatsBus } from '../../src/bus/nats-bus.ts';
import { NatsConnection } from '../../src/bus/nats-connection.ts';
import { type ConfigInput, configSchema } from '../../src/config/schema.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { createMetrics, type Metrics } from '../../src/core/metrics.ts';
import { isAcknowledged } from '../../src/hub/acknowledgement-policy.ts';

export type NatsSettings = NonNullable<NonNullable<ConfigInput['bus']>['nats']>;

export interface BusRig extends AsyncDisposable {
  readonly bus: NatsBus;
  readonly connection: NatsConnection;
  readonly metrics: Metrics;
}

/** A bus as one replica has it. A prefix is a bus of its own: several fit on one server. */
export async function startNatsBus(settings: NatsSettings & { servers: string[] }): Promise<BusRig> {
  const rig = createNatsBus(settings);
  await rig.connection.start();
  await rig.bus.start(new AbortController().signal);
  return rig;
}

export function createNatsBus(settings: NatsSettings & { servers: string[] }): BusRig {
  const { nats } = configSchema.parse({ bus: { nats: settings } }).bus;
  const metrics = createMetrics({ process: false });
  const parts = { clock: systemClock, log: silentLogger, metrics };
  const connection = new NatsConnection(parts, { ...nats, replica: 'replica-1' });
  const bus = new NatsBus({ ...parts, connection, isAcknowledged }, nats);
  return {
    bus,
    connection,
    metrics,
    [Symbol.asyncDispose]: async () => {
      await bus.stop(AbortSignal.timeout(5_000));
      await connection.stop();
    },
  };
}
