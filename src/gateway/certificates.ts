import { auditedEvents } from '../audit/audited-events.ts';
import { CertificateManager } from '../certs/certificate-manager.ts';
import { CurrentCertificates } from '../certs/current-certificates.ts';
import { type PreparedCerts, prepareAllCerts } from '../certs/prepare-all-certs.ts';
import { RevocationService } from '../certs/revocation/revocation-service.ts';
import { SecretReplicaBoard } from '../fleet/secret-replica-board.ts';
import { NodeHistoryService } from '../history/node-history-service.ts';
import { ListenerGroup } from '../listeners/listener-group.ts';
import { type Cluster, openCluster } from '../secrets/open-cluster.ts';
import { Preflight } from '../selfcheck/preflight.ts';
import { ProbeClients } from '../selfcheck/probe-clients.ts';
import type { GatewayWorld } from './gateway-world.ts';
import type { Messaging } from './messaging.ts';
import { withStartupProbe } from './startup-probe.ts';

export type Certificates = Awaited<ReturnType<typeof composeCertificates>>;

/** Step 2: the Secrets and all that is made of them. Nothing listens before they are whole. */
export async function composeCertificates(world: GatewayWorld, { hub }: Messaging, signal: AbortSignal) {
  const opened = await openCluster(world, { ...world.config.current.secretStore, replica: world.replica });
  const cluster = { ...opened, events: auditedEvents(opened.events, world.audit) };
  const { board, revocations, history } = composeRecords(world, cluster, hub);
  const { config, clock, log, metrics } = world;
  const { store, events } = cluster;
  const prepared = await withStartupProbe(world, config.current.https, async () => {
    const certs = await prepareAllCerts(
      { clock, log, metrics, store, events },
      certificateOptions(world),
      signal,
    );
    await revocations.load(signal);
    return certs;
  }).catch(async (cause) => {
    await store.close();
    throw cause;
  });
  return {
    ...cluster,
    cluster: cluster.component,
    board,
    revocations,
    history,
    ...composeManager(world, { cluster, prepared, hub }),
  };
}

/** Who lives, who is shut out, and what is remembered of the fleet. */
function composeRecords(world: GatewayWorld, { store, events }: Cluster, hub: Messaging['hub']) {
  const { config, clock, log, metrics, namesakes, replica } = world;
  const shared = { clock, log, metrics, store, events };
  const board = new SecretReplicaBoard(
    { ...shared, namesakes },
    config.view(({ certificates: { replicaSecret } }) => ({ secret: replicaSecret, replica })),
  );
  const revocations = new RevocationService(
    { ...shared, board, certificateOf: (node) => hub.identityOf(node)?.certificate },
    config.view(({ certificates: { revocationSecret, backdateMs } }) => ({
      secret: revocationSecret,
      backdateMs,
    })),
  );
  const history = new NodeHistoryService(
    { ...shared, isNodeRevoked: (node) => revocations.isNodeRevoked(node) },
    config.view(({ certificates: { historySecret, historyShards, historySyncMs, graceDays, edgeDays } }) => ({
      secret: historySecret,
      maxShards: historyShards,
      replica,
      syncMs: historySyncMs,
      graceDays,
      edgeDays,
    })),
  );
  return { board, revocations, history };
}

/**
 * Everybody reads `current`; its one writer tries each new bundle on the listeners first. They join the group
 * later, and are asked only once they listen.
 */
function composeManager(
  world: GatewayWorld,
  { cluster, prepared, hub }: { cluster: Cluster; prepared: PreparedCerts; hub: Messaging['hub'] },
) {
  const { config, clock, log, metrics } = world;
  const { store, events } = cluster;
  const shared = { clock, log, metrics };
  const current = new CurrentCertificates(prepared);
  const listeners = new ListenerGroup({ ...shared, source: current });
  const clients = new ProbeClients({ clock });
  const preflight = new Preflight(
    { ...shared, clients, listeners: () => listeners.started },
    config.view(({ advertise, limits }) => ({
      addresses: advertise.addresses,
      timeoutMs: limits.handshakeTimeoutMs,
    })),
  );
  const manager = new CertificateManager(
    {
      ...shared,
      store,
      events,
      current,
      snapshot: prepared.snapshot,
      preflight: (bundle, authorities) => preflight.check(bundle, authorities),
      nodesNotIssuedBy: (cas) => hub.count(({ certificate }) => !cas.has(certificate.issuerSha256)),
    },
    certificateOptions(world),
  );
  return { current, listeners, clients, manager };
}

function certificateOptions({ config }: GatewayWorld) {
  const { certificates, advertise } = config.current;
  return { certificates, addresses: advertise.addresses };
}
