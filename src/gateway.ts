import { hostname } from 'node:os';
import type { TLSSocket } from 'node:tls';
import { AdminListener } from './admin/admin-listener.ts';
import { LocalBus } from './bus/local-bus.ts';
import { ensureAdminCertificate } from './certs/admin-certificate.ts';
import { CertificateManager } from './certs/certificate-manager.ts';
import { EdgeCertificateIssuer } from './certs/edge-certificate-issuer.ts';
import { IssuanceLog } from './certs/issuance-log.ts';
import { openCluster } from './certs/open-cluster.ts';
import { prepareAllCerts } from './certs/prepare-all-certs.ts';
import { RenewalGrace } from './certs/renewal-grace.ts';
import { TokenService } from './certs/token-service.ts';
import type { LiveConfig } from './config/live-config.ts';
import type { GatewayInfo } from './contracts/gateway-info.ts';
import type { Listener, ListenerName } from './contracts/listener.ts';
import { type Clock, systemClock } from './core/clock.ts';
import { describeError } from './core/errors.ts';
import { HealthRegistry } from './core/health.ts';
import { Lifecycle } from './core/lifecycle.ts';
import type { Logger } from './core/log.ts';
import { createMetrics } from './core/metrics.ts';
import { VERSION } from './core/version.ts';
import { registerHealthChecks } from './health-checks.ts';
import { SessionHub } from './hub/session-hub.ts';
import { AdminGate } from './identity/admin-gate.ts';
import { PeerGate } from './identity/peer-gate.ts';
import { HttpsListener } from './listeners/https/https-listener.ts';
import { ListenerGroup } from './listeners/listener-group.ts';
import { peerCertificates } from './listeners/peer-certificates.ts';
import { QUIC_DEFAULTS } from './listeners/quic/options.ts';
import { QuicListener } from './listeners/quic/quic-listener.ts';
import { TlsServer } from './listeners/tls-server.ts';
import { WebSocketListener } from './listeners/websocket/websocket-listener.ts';
import { withStartupProbe } from './startup.ts';

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
 * The composition root: builds everything, in the order it starts; stops in reverse. A gateway that is returned is ready.
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
  const bus = new LocalBus(shared, () => settings().hub.queue);
  const hub = new SessionHub({ ...shared, bus }, () => ({ ...settings().hub, replica }));

  // — certificates: nothing listens before they are whole —
  const cluster = await openCluster(shared, { ...settings().secretStore, replica });
  const { store, events } = cluster;
  const certificateOptions = () => ({
    certificates: settings().certificates,
    addresses: settings().advertise.addresses,
  });
  const prepared = await withStartupProbe(shared, settings().https, () =>
    prepareAllCerts({ ...shared, store, events }, certificateOptions(), signal),
  );
  const certificates = new CertificateManager(
    {
      ...shared,
      store,
      events,
      prepared,
      nodesNotIssuedBy: (cas) => hub.count(({ certificate }) => !cas.has(certificate.issuerSha256)),
    },
    certificateOptions(),
  );

  // — who is let in, and what with —
  const gate = new PeerGate(
    { clock, trust: () => certificates.current().clientCAs },
    () => settings().identity,
  );
  const adminGate = new AdminGate({ clock, ca: () => certificates.current().ca });
  const tokens = new TokenService(
    { ...shared, store, events, authority: () => certificates.authority() },
    () => settings().tokens,
  );
  const audit = new IssuanceLog({ log, events }, { caSecret: settings().certificates.caSecret });

  const issuer = new EdgeCertificateIssuer(
    {
      ...shared,
      authority: () => certificates.authority(),
      source: certificates,
      tokens,
      grace: new RenewalGrace({ clock, tokens, trust: () => certificates.current().clientCAs }, () => ({
        graceDays: settings().certificates.graceDays,
        legacyNodes: settings().identity.legacyNodes,
      })),
      isConnected: (node) => hub.isConnected(node),
      audit,
    },
    () => ({
      ...settings().certificates,
      ...settings().tokens,
      legacyNodes: settings().identity.legacyNodes,
      replica,
    }),
  );

  // — listeners —
  const authenticate = (socket: TLSSocket) => {
    const { leaf, intermediates } = peerCertificates(socket);
    return adminGate.check(leaf, intermediates);
  };
  const tlsServer = (name: 'https' | 'admin') =>
    new TlsServer({ ...shared, source: certificates }, () => ({
      name,
      ...settings()[name],
      tls: settings().tls,
      limits: settings().limits,
    }));
  const builders: Partial<Record<ListenerName, () => Listener>> = {
    https: () =>
      new HttpsListener(
        {
          ...shared,
          server: tlsServer('https'),
          source: certificates,
          gate,
          issuer,
          health,
          isKnownNode: (node) => hub.isConnected(node),
        },
        () => ({
          ...settings().limits,
          requestsPerMinutePerSource: settings().limits.enrolmentsPerMinutePerIp,
          requestsPerMinute: settings().limits.enrolmentsPerMinute,
        }),
      ),
    websocket: () =>
      new WebSocketListener({ ...shared, source: certificates, gate, acceptor: hub }, () => ({
        ...settings().websocket,
        ...settings().hub,
        tls: settings().tls,
        limits: settings().limits,
      })),
    quic: () =>
      new QuicListener({ ...shared, source: certificates, gate, acceptor: hub }, () => ({
        ...QUIC_DEFAULTS,
        ...settings().limits,
        ...settings().hub,
        ...settings().quic,
        epoch: startedAt,
      })),
    admin: () =>
      new AdminListener({
        ...shared,
        server: tlsServer('admin'),
        health,
        bus,
        nodes: hub,
        certificates,
        tokens,
        info,
        authenticate,
        reviewer: cluster.reviewer,
      }),
  };
  const names = (Object.keys(builders) as (keyof typeof builders)[]).filter(
    (name) => settings()[name].enabled,
  );
  const listeners = new ListenerGroup(
    { ...shared, source: certificates },
    names.map((name) => builders[name]!()),
  );
  registerHealthChecks(health, { certificates, listeners, bus, store, isDraining: () => draining });

  const lifecycle = new Lifecycle(
    [
      cluster.component,
      certificates,
      tokens,
      bus,
      hub,
      {
        name: 'listeners',
        start: () => listeners.start(),
        stop: (signal) =>
          Promise.all([listeners.stop(signal), hub.drain(settings().limits.drainMs, signal)]).then(() => {}),
      },
    ],
    clock,
  );
  await lifecycle.start({ signal, stopTimeoutMs: settings().limits.stopTimeoutMs });
  if (settings().secretStore.kind === 'directory') {
    await ensureAdminCertificate(
      { clock, log, authority: certificates.authority() },
      { directory: settings().secretStore.path, days: 365 },
    );
  }

  // — what changes while it runs —
  certificates.onChange(() => hub.applyTrust((identity) => gate.stillTrusted(identity)));
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
