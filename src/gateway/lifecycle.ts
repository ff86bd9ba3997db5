import { AdminCertificateKeeper } from '../certs/ca/admin-certificate-keeper.ts';
import { CaExpiryWatch } from '../certs/ca/ca-expiry-watch.ts';
import { CrlKeeper } from '../certs/revocation/crl-keeper.ts';
import { following } from '../core/following.ts';
import { type Component, Lifecycle } from '../core/lifecycle.ts';
import { selfTest } from '../selfcheck/self-test.ts';
import type { Certificates } from './certificates.ts';
import type { Doors, GatewayParts } from './doors.ts';
import type { GatewayWorld } from './gateway-world.ts';
import { HealthFile } from './health-file.ts';
import type { Messaging } from './messaging.ts';
import { followSessions, followSettings, followTrust } from './reactions.ts';

/** Step 5: everything that runs, in the order it starts; it stops in reverse. */
export function composeLifecycle(world: GatewayWorld, parts: GatewayParts): Lifecycle {
  const { clock, log, metrics } = world;
  const { messaging, certificates, gate, doors } = parts;
  const { current, events } = certificates;
  const { recovery } = doors;
  const shared = { clock, log, metrics, source: current };
  return new Lifecycle(
    [
      certificates.cluster,
      certificates.board,
      following('trust', () => followTrust(parts)),
      certificates.manager,
      recovery.component,
      certificates.revocations,
      new CrlKeeper({ ...shared, crl: gate.crl }),
      certificates.history,
      gate.tokens,
      gate.backups,
      ...messaging.components,
      following('session events', () => followSessions(world, parts)),
      ...messaging.relaying.components(certificates.store),
      messaging.hub,
      gate.rollover,
      new CaExpiryWatch({ ...shared, events }, world.config.current.certificates),
      ...adminCertificate(world, certificates),
      listening(world, messaging, { certificates, doors }),
      proof(world, certificates, doors),
      following('settings', () => followSettings(world, certificates)),
      ...healthFile(world),
    ],
    clock,
  );
}

/** In a folder an administrator's certificate lies beside the Secrets; on a cluster people have their own. */
function adminCertificate(
  { config, clock, log, audit }: GatewayWorld,
  { current }: Certificates,
): Component[] {
  const { kind, path } = config.current.secretStore;
  if (kind !== 'directory') return [];
  const parts = { clock, log, audit, authority: () => current.authority(), source: current };
  return [new AdminCertificateKeeper(parts, { directory: path, name: 'admin', role: 'operator', days: 365 })];
}

/** Started last: it says that the gateway is ready. */
function healthFile({ clock, log, health, config }: GatewayWorld): Component[] {
  const { file } = config.current.health;
  return file === undefined ? [] : [new HealthFile({ clock, log, health }, file)];
}

/** Stops in two halves: the doors for edges close while their sessions drain, those for operators last. */
function listening(
  { config }: GatewayWorld,
  { hub }: Messaging,
  { certificates: { listeners }, doors }: { certificates: Certificates; doors: Doors },
): Component {
  return {
    name: 'listeners',
    start: () => listeners.start(),
    stop: async (signal) => {
      await Promise.all([
        listeners.stopSessions(signal),
        hub.drain(config.current.limits.drainMs, signal),
        doors.recovery.served.stop(),
      ]);
      await listeners.stop(signal);
    },
  };
}

/** Nobody is told that the gateway is ready before it has connected to itself. */
function proof(world: GatewayWorld, { listeners }: Certificates, { recovery }: Doors): Component {
  const { clock, log } = world;
  return {
    name: 'self-test',
    start: async () => {
      await selfTest({ clock, log }, listeners.listeners);
      await recovery.served.start();
    },
    stop: async () => {},
  };
}
