import type { GatewayInfo, ReadyInfo } from '../contracts/gateway-info.ts';
import { VERSION } from '../core/version.ts';
import { composeCertificates } from './certificates.ts';
import { composeDoors } from './doors.ts';
import { composeGate } from './gate.ts';
import { readyInfo } from './gateway-info.ts';
import { createWorld, type GatewayComponents } from './gateway-world.ts';
import { composeLifecycle } from './lifecycle.ts';
import { composeMessaging } from './messaging.ts';

/** A running gateway. */
export interface Gateway extends AsyncDisposable {
  ready(): ReadyInfo;
  info(): GatewayInfo;
  /** Drains and stops everything, once; a second call waits for the first. */
  stop(): Promise<void>;
}

/**
 * The composition root: builds everything in five steps, each of what the steps before have built, and starts
 * it. A gateway that is returned is ready.
 * @throws the first cause, after everything that had started was stopped again
 */
export async function startGateway(
  components: GatewayComponents,
  { signal = new AbortController().signal }: { signal?: AbortSignal } = {},
): Promise<Gateway> {
  const world = await createWorld(components);
  const messaging = composeMessaging(world);
  const certificates = await composeCertificates(world, messaging, signal);
  const gate = composeGate(world, messaging, certificates);
  const doors = composeDoors(world, { messaging, certificates, gate });
  const lifecycle = composeLifecycle(world, { messaging, certificates, gate, doors });

  const { audit, config, log, run, replica } = world;
  const ready = () => readyInfo(certificates);
  await lifecycle.start({ signal, stopTimeoutMs: config.current.limits.stopTimeoutMs });
  const { caSha256: _ca, store: _store, ...listening } = ready();
  log.info({ ...listening, replica }, 'gateway is ready');
  audit.record({ action: 'gateway-ready', who: 'gateway', what: `version ${VERSION}` });

  async function stop(): Promise<void> {
    if (!run.isDraining) log.info({ nodes: messaging.hub.list().length }, 'gateway is stopping');
    run.isDraining = true;
    await lifecycle.stop({ timeoutMs: config.current.limits.stopTimeoutMs });
    audit.record({ action: 'gateway-stopped', who: 'gateway' });
    log.info({}, 'gateway has stopped');
  }
  return { ready, info: doors.info, stop, [Symbol.asyncDispose]: stop };
}
