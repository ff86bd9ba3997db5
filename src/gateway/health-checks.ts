import type { CertificateManager } from '../certs/certificate-manager.ts';
import type { RevocationService } from '../certs/revocation/revocation-service.ts';
import type { MessageBus } from '../contracts/message-bus.ts';
import type { NodeOwnership } from '../contracts/node-ownership.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { HealthRegistry } from '../core/health.ts';
import type { ListenerGroup } from '../listeners/listener-group.ts';

export interface HealthSubjects {
  readonly certificates: CertificateManager;
  readonly listeners: ListenerGroup;
  readonly bus: MessageBus;
  readonly ownership: Pick<NodeOwnership, 'problem' | 'replicas'>;
  readonly revocations: RevocationService;
  readonly store: Pick<SecretStore, 'problem'>;
  readonly isDraining: () => boolean;
}

/** What `/livez` and `/readyz` look at. What quotes an error is for administrators. */
export function registerHealthChecks(health: HealthRegistry, subjects: HealthSubjects): void {
  const { certificates, revocations, listeners, bus, ownership, store, isDraining } = subjects;
  const forAll = 'everybody';
  health.register('ping', ['livez', 'readyz'], () => undefined);
  health.register('certificates', ['readyz'], () => certificates.checkBundle());
  health.register('ca', ['readyz'], () => certificates.checkCa());
  // A remark and no failure: the last good list is enforced, and to take every replica out at once would end
  // the fleet's only hub.
  health.register(
    'revocations',
    ['readyz'],
    () =>
      revocations.problem() === undefined
        ? undefined
        : `the stored list cannot be used; version ${revocations.current.version} stays in force`,
    forAll,
  );
  // A remark and no failure: the bundle in use is as good as before, and taking every replica out at once
  // would end the fleet's only hub.
  health.register('store', ['readyz'], () => store.problem());
  health.register(
    'listeners',
    ['readyz'],
    () => {
      if (listeners.listeners.length === 0) throw new Error('no listener is enabled');
      return listeners.listeners
        .map((one) => (one.describe ? `${one.name} (${one.describe()})` : one.name))
        .join(', ');
    },
    forAll,
  );
  health.register(
    'served',
    ['readyz'],
    () => {
      const behind = listeners.drift();
      if (behind.length > 0)
        throw new Error(`${behind.map(({ name }) => name).join(', ')} cannot serve the newest certificate`);
      return undefined;
    },
    forAll,
  );
  health.register('bus', ['readyz'], () => {
    const problem = bus.problem();
    if (problem) throw new Error(problem);
    return undefined;
  });
  health.register(
    'fleet',
    ['readyz'],
    () => {
      const problem = ownership.problem();
      if (problem) throw new Error(problem);
      const others = ownership.replicas().length - 1;
      return others === 0 ? undefined : `${others} other ${others === 1 ? 'replica' : 'replicas'}`;
    },
    forAll,
  );
  health.register(
    'draining',
    ['readyz'],
    () => {
      if (isDraining()) throw new Error('the gateway is shutting down');
      return undefined;
    },
    forAll,
  );
}
