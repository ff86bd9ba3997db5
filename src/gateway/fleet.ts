import type { LiveConfig } from '../config/live-config.ts';
import type { MessageBus } from '../contracts/message-bus.ts';
import type { NodeOwnership } from '../contracts/node-ownership.ts';
import type { ReplicaCalls } from '../contracts/replica-calls.ts';
import type { Clock } from '../core/clock.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { AbandonedNodes } from '../fleet/abandoned-nodes.ts';
import { localCalls } from '../fleet/local-calls.ts';
import { LocalOwnership } from '../fleet/local-ownership.ts';
import type { Namesakes } from '../fleet/namesakes.ts';
import { NatsCalls } from '../fleet/nats-calls.ts';
import { NatsOwnership } from '../fleet/nats-ownership.ts';
import { NatsReplicas, REPLICA_TIMES } from '../fleet/nats-replicas.ts';
import type { NatsConnection } from '../nats/nats-connection.ts';

export interface FleetParts {
  readonly config: LiveConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly namesakes: Namesakes;
  readonly bus: MessageBus;
  /** Undefined when this hub runs alone. */
  readonly connection: NatsConnection | undefined;
}

/** What makes several replicas one hub. */
export interface Fleet {
  readonly ownership: NodeOwnership;
  readonly calls: ReplicaCalls;
  /**
   * In the order in which they start: after the connection and the bus, and before the hub, so that they
   * outlive its sessions.
   */
  readonly components: readonly Component[];
}

export function composeFleet(parts: FleetParts, { replica }: { readonly replica: string }): Fleet {
  const { config, clock, log, metrics, namesakes, bus, connection } = parts;
  if (!connection)
    return { ownership: new LocalOwnership({ clock }, { replica }), calls: localCalls, components: [] };
  const { prefix, replicas: copies, requestTimeoutMs } = config.current.bus.nats;
  const shared = { clock, log, metrics, connection };
  const replicas = new NatsReplicas(
    { ...shared, namesakes },
    { ...REPLICA_TIMES, replica, prefix, copies, requestTimeoutMs },
  );
  const ownership = new NatsOwnership(
    { ...shared, replicas },
    config.view(({ hub: { flapWindowMs } }) => ({ prefix, copies, requestTimeoutMs, flapWindowMs })),
  );
  const calls = new NatsCalls(shared, { prefix, run: replicas.self.run, timeoutMs: requestTimeoutMs });
  const abandoned = new AbandonedNodes({ ownership, replicas, bus, clock, log });
  return { ownership, calls, components: [calls, replicas, ownership, abandoned] };
}
