import type { GatewayInfo, ReadyInfo } from '../contracts/gateway-info.ts';
import { VERSION } from '../core/version.ts';
import type { Certificates } from './certificates.ts';
import type { GatewayWorld } from './gateway-world.ts';
import type { Messaging } from './messaging.ts';

/** What this gateway is, at this moment. */
export function gatewayInfo(
  { config, clock, replica, startedAt, run, quic, namesakes }: GatewayWorld,
  { hub, bus }: Messaging,
  { current, listeners, store }: Certificates,
): GatewayInfo {
  const namesake = namesakes.problem();
  return {
    version: VERSION,
    replica,
    startedAt,
    now: new Date(clock.now()).toISOString(),
    secretStore: store.location,
    bus: bus.name,
    advertise: config.current.advertise.addresses,
    caSha256: current.current().ca.sha256,
    draining: run.isDraining,
    nodes: hub.list().length,
    ...(quic.whyNot === undefined ? {} : { quicOff: quic.whyNot }),
    ...(namesake === undefined ? {} : { namesake }),
    listeners: listeners.listeners.map((listener) => ({
      name: listener.name,
      ...listener.address(),
      servedFingerprint: listener.servedFingerprint(),
      ...(listener.describe ? { detail: listener.describe() } : {}),
    })),
  };
}

/** Where it listens; to be asked once it does. */
export function readyInfo({ current, listeners, store }: Certificates): ReadyInfo {
  const addresses = listeners.listeners.map((listener) => [listener.name, formatAddress(listener.address())]);
  return {
    ready: true,
    ...Object.fromEntries(addresses),
    caSha256: current.current().ca.sha256,
    store: store.location,
  };
}

function formatAddress({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
