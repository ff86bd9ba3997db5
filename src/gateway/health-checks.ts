import type { HealthCheck } from '../core/health.ts';
import type { Certificates } from './certificates.ts';
import type { GatewayWorld } from './gateway-world.ts';
import type { Messaging } from './messaging.ts';

/** What `/livez` and `/readyz` look at. What quotes an error is for administrators. */
export function registerHealthChecks(
  { health, run, quic, audit, namesakes }: GatewayWorld,
  { bus, ownership, relaying }: Messaging,
  { manager, revocations, listeners, store }: Certificates,
): void {
  /** What these say is for everybody. */
  const openly = (name: string, check: HealthCheck) => health.register(name, ['readyz'], check, 'everybody');
  health.register('ping', ['livez', 'readyz'], () => undefined);
  health.register('certificates', ['readyz'], () => manager.checkBundle());
  health.register('ca', ['readyz'], () => manager.checkCa());
  // A remark and no failure: the last good list is enforced, and to take every replica out at once would end
  // the fleet's only hub.
  openly('revocations', () =>
    revocations.problem() === undefined
      ? undefined
      : `the stored list cannot be used; version ${revocations.current.version} stays in force`,
  );
  // A remark and no failure, because the bundle in use is as good as before. To take every replica out at
  // once would end the fleet's only hub.
  health.register('store', ['readyz'], () => store.problem());
  // A remark and no failure: edges are served without an audit (docs/decisions/audit.md).
  health.register('audit', ['readyz'], () => {
    const problem = audit.problem();
    return problem === undefined ? undefined : `lines are being lost: ${problem}`;
  });
  openly('listeners', () => {
    if (listeners.listeners.length === 0) throw new Error('no listener is enabled');
    const all = listeners.listeners
      .map((one) => (one.describe ? `${one.name} (${one.describe()})` : one.name))
      .join(', ');
    return quic.whyNot === undefined ? all : `${all}; ${quic.whyNot}`;
  });
  openly('served', () => {
    const behind = listeners.drift();
    if (behind.length > 0)
      throw new Error(`${behind.map(({ name }) => name).join(', ')} cannot serve the newest certificate`);
    return undefined;
  });
  health.register('bus', ['readyz'], () => {
    const problem = bus.problem();
    if (problem) throw new Error(problem);
    return undefined;
  });
  openly('fleet', () => checkFleet(ownership, namesakes));
  if (relaying.relay)
    openly('upstream', () => {
      const problem = relaying.problem();
      if (problem) throw new Error(problem);
      return undefined;
    });
  openly('draining', () => {
    if (run.isDraining) throw new Error('the gateway is shutting down');
    return undefined;
  });
}

function checkFleet(
  ownership: Messaging['ownership'],
  namesakes: GatewayWorld['namesakes'],
): string | undefined {
  const problem = ownership.problem();
  if (problem) throw new Error(problem);
  const others = ownership.replicas().length - 1;
  const seen = others === 0 ? undefined : `${others} other ${others === 1 ? 'replica' : 'replicas'}`;
  // A remark and no failure: edges are served, and an operator is misled.
  return [seen, namesakes.problem()].filter(Boolean).join('; ') || undefined;
}
