import { X509Certificate } from 'node:crypto';
import { CertificateManager } from '../../../src/certs/certificate-manager.ts';
import { CurrentCertificates } from '../../../src/certs/current-certificates.ts';
import { prepareAllCerts } from '../../../src/certs/prepare-all-certs.ts';
import type { NodeEvidence } from '../../../src/certs/rollover/rollover-nodes.ts';
import { CaRolloverService } from '../../../src/certs/rollover/rollover-service.ts';
import type { CertificateBundle } from '../../../src/contracts/certificate-source.ts';
import type { GatewayEvent } from '../../../src/contracts/event-recorder.ts';
import type { ForgottenNodes } from '../../../src/contracts/node-history.ts';
import type { SecretStore } from '../../../src/contracts/secret-store.ts';
import type { Clock } from '../../../src/core/clock.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { SecretReplicaBoard } from '../../../src/fleet/secret-replica-board.ts';
import { findChain, prepareCa } from '../../../src/identity/chain.ts';
import { captureLog } from '../capture-log.ts';
import { certificateOptions } from '../pki/cert-options.ts';

const signal = new AbortController().signal;

export interface RolloverReplica extends AsyncDisposable {
  readonly current: CurrentCertificates;
  readonly manager: CertificateManager;
  readonly service: CaRolloverService;
  readonly board: SecretReplicaBoard;
  readonly metrics: ReturnType<typeof createMetrics>;
  readonly events: GatewayEvent[];
  readonly asked: string[];
  readonly records: ReturnType<typeof captureLog>['records'];
  step(
    step: Parameters<CaRolloverService['step']>[0]['step'],
    force?: boolean,
  ): ReturnType<CaRolloverService['step']>;
}

/** What of a gateway a CA rollover needs, on a store that may be shared with others. */
export async function startRollover(
  { store, clock }: { store: SecretStore; clock: Clock },
  options: {
    replica?: string;
    nodes?: () => readonly NodeEvidence[];
    recall?: () => Promise<void>;
    forgotten?: () => ForgottenNodes | undefined;
    certificates?: Partial<typeof certificateOptions>;
  } = {},
): Promise<RolloverReplica> {
  const { log, records } = captureLog();
  const metrics = createMetrics({ process: false });
  const certificates = { ...certificateOptions, checkMs: 60_000, ...options.certificates };
  const components = { store, clock, log, metrics };
  const addresses = ['localhost', '127.0.0.1'];
  const prepared = await prepareAllCerts(components, { certificates, addresses }, signal);
  const { snapshot } = prepared;
  const current = new CurrentCertificates(prepared);
  const manager = new CertificateManager({ ...components, current, snapshot }, { certificates, addresses });
  const replica = options.replica ?? 'hub-1';
  const board = new SecretReplicaBoard(components, () => ({ secret: 'sallyport-replicas', replica }));
  const events: GatewayEvent[] = [];
  const asked: string[] = [];
  const service = new CaRolloverService(
    {
      ...components,
      events: { record: (event) => void events.push(event) },
      current,
      manager,
      fleet: {
        nodes: options.nodes ?? (() => []),
        forgotten: options.forgotten ?? (() => undefined),
        recall: options.recall ?? (async () => {}),
      },
      ask: (issuer) => asked.push(issuer),
      board,
    },
    () => ({ ...certificates, replica, graceDays: 30 }),
  );
  await board.start();
  await manager.start(signal);
  await service.start();
  return {
    current,
    manager,
    service,
    board,
    metrics,
    events,
    asked,
    records,
    step: (step, force = false) => service.step({ step, force, by: 'admin' }),
    [Symbol.asyncDispose]: async () => {
      await service.stop();
      await manager.stop(signal);
      await board.stop();
    },
  };
}

/** Whether a client that knows this CA alone finds the way to it in what the hub presents. */
export function presentsChainTo(bundle: CertificateBundle, ca: X509Certificate): boolean {
  const [leaf, ...others] = (
    bundle.server.cert.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []
  ).map((pem) => new X509Certificate(pem));
  const anchor = prepareCa({
    pem: ca.toString(),
    sha256: ca.fingerprint256.replaceAll(':', '').toLowerCase(),
  });
  return findChain(leaf!, anchor!, { intermediates: others, budget: { left: 100 } }) !== undefined;
}
