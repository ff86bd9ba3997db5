import { openBus } from '../bus/open-bus.ts';
import { FleetDirectory } from '../fleet/fleet-directory.ts';
import { isAcknowledged } from '../hub/acknowledgement-policy.ts';
import { SessionHub } from '../hub/session-hub.ts';
import { composeFleet } from './fleet.ts';
import type { GatewayWorld } from './gateway-world.ts';
import { composeRelay } from './relay.ts';

export type Messaging = ReturnType<typeof composeMessaging>;

/** Step 1: sessions and messages, alone or as one of a fleet. */
export function composeMessaging(world: GatewayWorld) {
  const { config, clock, log, metrics, namesakes, replica } = world;
  const shared = { clock, log, metrics };
  const opened = openBus({ ...shared, isAcknowledged }, () => config.current, { replica });
  const { bus, connection } = opened;
  const fleet = composeFleet({ ...shared, namesakes, config, bus, connection }, { replica });
  const { ownership, calls } = fleet;
  const relaying = composeRelay(world, { nodes: () => nodes });
  const hub = new SessionHub(
    { ...shared, bus, ownership, relay: relaying.relay },
    config.view((now) => ({ ...now.hub, replica, copyUpstream: now.upstream.copy })),
  );
  const nodes = new FleetDirectory({ local: hub, ownership, calls });
  return {
    bus,
    ownership,
    calls,
    hub,
    /** The way to CloudCore, off without `upstream.kind`. */
    relaying,
    nodes,
    /** What carries the messages, in the order it starts; the hub comes after it. */
    components: [...opened.components, ...fleet.components],
  };
}
