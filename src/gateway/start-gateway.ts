import { hostname } from 'node:os';
import { BackupMonitor } from '../backup/backup-monitor.ts';
import { openBus } from '../bus/open-bus.ts';
import { AdminCertificateKeeper } from '../certs/ca/admin-certificate-keeper.ts';
import { CaExpiryWatch } from '../certs/ca/ca-expiry-watch.ts';
import { CertificateManager } from '../certs/certificate-manager.ts';
import { EdgeCertificateIssuer } from '../certs/enrolment/edge-certificate-issuer.ts';
import { IssuanceLog } from '../certs/enrolment/issuance-log.ts';
import { RenewalGrace } from '../certs/enrolment/renewal-grace.ts';
import { TokenService } from '../certs/enrolment/token-service.ts';
import { prepareAllCerts } from '../certs/prepare-all-certs.ts';
import { CrlKeeper } from '../certs/revocation/crl-keeper.ts';
import { CrlPublisher } from '../certs/revocation/crl-publisher.ts';
import { RevocationService } from '../certs/revocation/revocation-service.ts';
import type { LiveConfig } from '../config/live-config.ts';
import type { GatewayInfo } from '../contracts/gateway-info.ts';
import type { RevocablePeer } from '../contracts/revocations.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { HealthRegistry } from '../core/health.ts';
import { Lifecycle } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import { createMetrics } from '../core/metrics.ts';
import { VERSION } from '../core/version.ts';
import { FleetDirectory } from '../fleet/fleet-directory.ts';
import { FleetReplicas } from '../fleet/fleet-replicas.ts';
import { SecretReplicaBoard } from '../fleet/secret-replica-board.ts';
import { NodeHistoryService } from '../history/node-history-service.ts';
import { isAcknowledged } from '../hub/acknowledgement-policy.ts';
import { SessionHub } from '../hub/session-hub.ts';
import { AdminGate } from '../identity/admin-gate.ts';
import { PeerGate } from '../identity/peer-gate.ts';
import { ListenerGroup } from '../listeners/listener-group.ts';
import { RejectionLog } from '../listeners/rejection-log.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import { openCluster } from '../secrets/open-cluster.ts';
import { selfTest } from '../selfcheck/self-test.ts';
import { composeFleet } from './fleet.ts';
import { publishGatewayGauges } from './gauges.ts';
import { registerHealthChecks } from './health-checks.ts';
import { composeListeners } from './listeners.ts';
import { composeRecovery } from './recovery.ts';
import { composeRollover } from './rollover.ts';
import { withStartupProbe } from './startup-probe.ts';

export interface GatewayComponents {
  readonly config: LiveConfig;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** What `--print-ready` prints: addresses are `host:port`, of enabled listeners only. */
export interface ReadyInfo extends Readonly<Partial<Record<ListenerName, string>>> {
  readonly ready: true;
  readonly caSha256: string;
  /** Where the Secrets are. */
  readonly store: string;
}

/** A running gateway. */
export interface Gateway extends AsyncDisposable {
  ready(): ReadyInfo;
  info(): GatewayInfo;
  /** Drains and stops everything, once; a second call waits for the first. */
  stop(): Promise<void>;
}

/**
 * The composition root: builds everything, in the order it starts; stops in reverse. A gateway that is
 * returned is ready.
 * @throws the first cause, after everything that had started was stopped again
 */
export async function startGateway(
  components: GatewayComponents,
  options: { signal?: AbortSignal } = {},
): Promise<Gateway> {
  const { config, log, clock = systemClock } = components;
  const signal = options.signal ?? new AbortController().signal;
  const settings = () => config.current;
  const replica = settings().hub.replica ?? hostname();
  const startedAt = new Date(clock.now()).toISOString();
  const metrics = createMetrics();
  const health = new HealthRegistry();
  const shared = { clock, log, metrics };
  let draining = false;

  // — sessions and messages —
  const opened = openBus({ ...shared, isAcknowledged }, settings, { replica });
  const { bus, connection } = opened;
  const fleet = composeFleet({ ...shared, config, bus, connection }, { replica });
  const { ownership, calls } = fleet;
  const hub = new SessionHub(
    {
      ...shared,
      bus,
      ownership,
      onRevoked: (session) => revocations.sessionEnded(session),
      presence: {
        nodeConnected: ({ peer, transport, remoteAddress }) => {
          history.nodeConnected(peer, transport);
          recovery.swapWatch.nodeConnected(peer.nodeName, remoteAddress);
        },
        nodeDisconnected: (node) => {
          history.nodeDisconnected(node);
          recovery.swapWatch.nodeDisconnected(node);
        },
      },
    },
    config.view(({ hub }) => ({ ...hub, replica })),
  );

  const nodes = new FleetDirectory({ local: hub, ownership, calls });
  const replicas = new FleetReplicas({ ownership, calls, info });

  // — certificates: nothing listens before they are whole —
  const cluster = await openCluster(shared, { ...settings().secretStore, replica });
  const { store, events } = cluster;
  const certificateOptions = () => ({
    certificates: settings().certificates,
    addresses: settings().advertise.addresses,
  });
  const board = new SecretReplicaBoard(
    { ...shared, store },
    config.view(({ certificates: { replicaSecret } }) => ({ secret: replicaSecret, replica })),
  );
  const revocations = new RevocationService(
    { ...shared, store, board, events, certificateOf: (node) => hub.identityOf(node)?.certificate },
    config.view(({ certificates: { revocationSecret, backdateMs } }) => ({
      secret: revocationSecret,
      backdateMs,
    })),
  );
  const history = new NodeHistoryService(
    { ...shared, store, events, isNodeRevoked: (node) => revocations.isNodeRevoked(node) },
    config.view(({ certificates: { historySecret, historySyncMs, graceDays } }) => ({
      secret: historySecret,
      replica,
      syncMs: historySyncMs,
      graceDays,
    })),
  );
  const recovery = composeRecovery({
    ...shared,
    config,
    board,
    replica,
    certificates: () => certificates,
    listeners: () => listeners,
  });
  const prepared = await withStartupProbe(shared, settings().https, async () => {
    const certs = await prepareAllCerts({ ...shared, store, events }, certificateOptions(), signal);
    await revocations.load(signal);
    return certs;
  }).catch(async (cause) => {
    await store.close();
    throw cause;
  });
  const certificates = new CertificateManager(
    {
      ...shared,
      store,
      events,
      prepared,
      preflight: (bundle, authorities) => recovery.preflight.check(bundle, authorities),
      nodesNotIssuedBy: (cas) => hub.count(({ certificate }) => !cas.has(certificate.issuerSha256)),
    },
    certificateOptions(),
  );

  // — who is let in, and what with —
  const isRevoked = (peer: RevocablePeer) => revocations.isRevoked(peer);
  const trust = () => certificates.current().clientCAs;
  const gate = new PeerGate({ clock, trust, isRevoked }, () => settings().identity);
  const adminGate = new AdminGate({
    clock,
    cas: () => certificates.ownCas(),
    isRevoked: (certificate) => isRevoked({ ...certificate, nodeName: '' }),
  });
  const crl = new CrlPublisher({
    ...shared,
    authority: () => certificates.authority(),
    trusted: () => trust().map(({ sha256 }) => sha256),
    list: () => revocations.current,
  });
  const tokens = new TokenService(
    { ...shared, store, events, authority: () => certificates.authority() },
    () => settings().tokens,
  );
  const backups = new BackupMonitor(
    { ...shared, store, caSha256: () => certificates.current().ca.sha256 },
    { secret: settings().certificates.backupSecret },
  );
  const audit = new IssuanceLog(
    { log, events, onIssued: (record) => history.certificateIssued(record) },
    { caSecret: settings().certificates.caSecret },
  );

  const issuer = new EdgeCertificateIssuer(
    {
      ...shared,
      authority: () => certificates.authority(),
      source: certificates,
      tokens,
      grace: new RenewalGrace(
        { clock, tokens, trust, isRevoked },
        config.view((now) => ({ ...now.certificates, ...now.identity })),
      ),
      isConnected: (node) => hub.isConnectedAnywhere(node),
      isNodeRevoked: (node) => revocations.isNodeRevoked(node),
      audit,
    },
    config.view((now) => ({ ...now.certificates, ...now.tokens, ...now.identity, replica })),
  );

  const rollover = composeRollover({
    ...shared,
    config,
    replica,
    store,
    board,
    events,
    certificates,
    revocations,
    hub,
    history,
  });
  certificates.onChange((next, previous) => {
    if (next.ca.sha256 !== previous.ca.sha256) tokens.caChanged();
  });

  // — listeners —
  const rejections = new RejectionLog({ clock });
  const listeners = new ListenerGroup(
    { ...shared, source: certificates },
    composeListeners({
      ...shared,
      config,
      gate,
      adminGate,
      certificates,
      tokens,
      backups,
      issuer,
      revocations,
      rollover,
      crl,
      history,
      rejections: recovery.watching(rejections),
      served: recovery.served,
      hub,
      nodes,
      replicas,
      fleet,
      bus,
      health,
      info,
      startedAt,
      reviewer: cluster.reviewer,
    }),
  );
  registerHealthChecks(health, {
    certificates,
    revocations,
    listeners,
    bus,
    ownership,
    store,
    isDraining: () => draining,
  });

  publishGatewayGauges(metrics, { health, replica, hub: () => settings().hub });

  // What identities are accepted: the hub asks from the first session on, and again after each change.
  const applyTrust = () => hub.applyTrust((identity) => gate.stillTrusted(identity));
  applyTrust();
  certificates.onChange(applyTrust);
  revocations.onChange(applyTrust);

  const { kind, path } = settings().secretStore;
  const lifecycle = new Lifecycle(
    [
      cluster.component,
      board,
      certificates,
      recovery.component,
      revocations,
      new CrlKeeper({ ...shared, crl }),
      history,
      tokens,
      backups,
      ...opened.components,
      ...fleet.components,
      hub,
      rollover,
      new CaExpiryWatch({ ...shared, source: certificates, events }, settings().certificates),
      ...(kind === 'directory'
        ? [
            new AdminCertificateKeeper(
              { clock, log, authority: () => certificates.authority(), source: certificates },
              { directory: path, days: 365 },
            ),
          ]
        : []),
      {
        name: 'listeners',
        start: () => listeners.start(),
        stop: async (signal) => {
          await Promise.all([
            listeners.stopSessions(signal),
            hub.drain(settings().limits.drainMs, signal),
            recovery.served.stop(),
          ]);
          await listeners.stop(signal);
        },
      },
      {
        name: 'self-test',
        start: async () => {
          await selfTest({ ...shared, source: certificates }, listeners.listeners);
          rejections.clear();
          await recovery.served.start();
        },
        stop: async () => {},
      },
    ],
    clock,
  );
  await lifecycle.start({ signal, stopTimeoutMs: settings().limits.stopTimeoutMs });

  // — what changes while it runs —
  config.onChange((next, previous) => {
    if (next.log.level !== previous.log.level) log.level = next.log.level;
    certificates.setLifetimes(next.certificates);
    certificates.setAddresses(next.advertise.addresses).catch((error) => {
      log.error({ problem: describeError(error) }, 'the new addresses are not served yet');
    });
  });
  log.info({ ...ready(), replica }, 'gateway is ready');

  function info(): GatewayInfo {
    return {
      version: VERSION,
      replica,
      startedAt,
      now: new Date(clock.now()).toISOString(),
      secretStore: store.location,
      bus: bus.name,
      advertise: settings().advertise.addresses,
      caSha256: certificates.current().ca.sha256,
      draining,
      nodes: hub.list().length,
      listeners: listeners.listeners.map((listener) => ({
        name: listener.name,
        ...listener.address(),
        servedFingerprint: listener.servedFingerprint(),
        ...(listener.describe ? { detail: listener.describe() } : {}),
      })),
    };
  }
  function ready(): ReadyInfo {
    const addresses = listeners.listeners.map((listener) => [
      listener.name,
      formatAddress(listener.address()),
    ]);
    return {
      ready: true,
      ...Object.fromEntries(addresses),
      caSha256: certificates.current().ca.sha256,
      store: store.location,
    };
  }
  async function stop(): Promise<void> {
    if (!draining) log.info({ nodes: hub.list().length }, 'gateway is stopping');
    draining = true;
    await lifecycle.stop({ timeoutMs: settings().limits.stopTimeoutMs });
    log.info({}, 'gateway has stopped');
  }
  return { ready, info, stop, [Symbol.asyncDispose]: stop };
}

function formatAddress({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
