import { configSchema } from '../../../src/config/schema.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { type Logger, silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { Namesakes } from '../../../src/fleet/namesakes.ts';
import { NatsCalls } from '../../../src/fleet/nats-calls.ts';
import { NatsOwnership } from '../../../src/fleet/nats-ownership.ts';
import { NatsReplicas, type NatsReplicasOptions } from '../../../src/fleet/nats-replicas.ts';
import { NatsConnection } from '../../../src/nats/nats-connection.ts';
import { eventually } from '../eventually.ts';

export interface FleetMemberOptions extends Partial<NatsReplicasOptions> {
  readonly url: string;
  readonly log?: Logger;
}

/**
 * What a replica is to the others: its connection, signs of life, claims and answers, without hub and
 * listeners.
 */
export async function startFleetMember({ url, log = silentLogger, ...more }: FleetMemberOptions) {
  const shared = { clock: systemClock, log, metrics: createMetrics({ process: false }) };
  const { nats } = configSchema.parse({}).bus;
  const replica = more.replica ?? 'r1';
  const options = { prefix: more.prefix ?? 'test', copies: 1, requestTimeoutMs: 2_000 };
  const connection = new NatsConnection(shared, { ...nats, servers: [url], replica });
  const namesakes = new Namesakes({ log }, { replica });
  const replicas = new NatsReplicas(
    { ...shared, connection, namesakes },
    // Far apart, so that a machine that is busy does not count a living replica out.
    { ...options, heartbeatMs: 200, leaseMs: 2_000, deadMs: 3_000, replica, ...more },
  );
  const ownership = new NatsOwnership({ ...shared, connection, replicas }, () => ({
    ...options,
    flapWindowMs: 60_000,
  }));
  const calls = new NatsCalls(
    { ...shared, connection },
    { prefix: options.prefix, run: replicas.self.run, timeoutMs: 2_000 },
  );
  const { signal } = new AbortController();
  await replicas.start();
  await ownership.start();
  await calls.start();
  await connection.start();
  return {
    connection,
    replicas,
    ownership,
    calls,
    namesakes,
    sure: () => eventually(`${replica} is sure`, () => ownership.problem() === undefined),
    /** Goes as a killed process does: nothing is released, nobody is told. */
    kill: () => connection.stop(),
    async [Symbol.asyncDispose]() {
      await ownership.stop(AbortSignal.any([signal, AbortSignal.timeout(50)]));
      await replicas.stop();
      await calls.stop();
      await connection.stop();
    },
  };
}

export type FleetMember = Awaited<ReturnType<typeof startFleetMember>>;
