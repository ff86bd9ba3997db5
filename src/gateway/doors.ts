import type { GatewayInfo } from '../contracts/gateway-info.ts';
import { FleetRejections } from '../fleet/fleet-rejections.ts';
import { FleetReplicas } from '../fleet/fleet-replicas.ts';
import type { Certificates } from './certificates.ts';
import type { Gate } from './gate.ts';
import { gatewayInfo } from './gateway-info.ts';
import type { GatewayWorld } from './gateway-world.ts';
import { publishGatewayGauges } from './gauges.ts';
import { registerHealthChecks } from './health-checks.ts';
import { composeListeners } from './listeners.ts';
import type { Messaging } from './messaging.ts';
import { composeRecovery, type Recovery } from './recovery.ts';

export interface DoorParts {
  readonly messaging: Messaging;
  readonly certificates: Certificates;
  readonly gate: Gate;
}

export interface Doors {
  readonly recovery: Recovery;
  readonly info: () => GatewayInfo;
}

/** All that the steps have built. */
export interface GatewayParts extends DoorParts {
  readonly doors: Doors;
}

/** Step 4: the listeners join their group, and what operators and probes can see. Nothing listens yet. */
export function composeDoors(world: GatewayWorld, parts: DoorParts): Doors {
  const { messaging, certificates } = parts;
  const { ownership, calls } = messaging;
  const { health, metrics, replica, config } = world;
  const info = () => gatewayInfo(world, messaging, certificates);
  const recovery = composeRecovery(world, certificates);
  const replicas = new FleetReplicas({ ownership, calls, info });
  const refused = new FleetRejections({ ownership, calls, local: recovery.rejections });
  certificates.listeners.add(...composeListeners({ world, ...parts, recovery, replicas, refused, info }));
  registerHealthChecks(world, messaging, certificates);
  publishGatewayGauges(metrics, { health, replica, hub: () => config.current.hub });
  return { recovery, info };
}
