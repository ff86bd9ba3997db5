import type { TLSSocket } from 'node:tls';
import { AdminListener } from '../admin/admin-listener.ts';
import type { CertificateManager } from '../certs/certificate-manager.ts';
import type { LiveConfig } from '../config/live-config.ts';
import type { BackupWatcher } from '../contracts/backups.ts';
import type { BearerReviewer } from '../contracts/bearer-reviewer.ts';
import type { CaRolloverAdmin } from '../contracts/ca-rollover.ts';
import type { CertificateIssuer, TokenMinter } from '../contracts/certificate-issuer.ts';
import type { GatewayInfo } from '../contracts/gateway-info.ts';
import type { Listener } from '../contracts/listener.ts';
import type { MessageBus } from '../contracts/message-bus.ts';
import type { NodeDirectory } from '../contracts/node-directory.ts';
import type { NodeHistory } from '../contracts/node-history.ts';
import type { RejectionDirectory, RejectionSink } from '../contracts/rejections.ts';
import type { Replicas } from '../contracts/replicas.ts';
import type { CrlSource, RevocationAdmin } from '../contracts/revocations.ts';
import type { ServedCertificates } from '../contracts/served-certificates.ts';
import type { Clock } from '../core/clock.ts';
import type { HealthRegistry } from '../core/health.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { FleetTickets } from '../fleet/fleet-tickets.ts';
import type { SessionHub } from '../hub/session-hub.ts';
import type { AdminGate } from '../identity/admin-gate.ts';
import type { NodeIdentity } from '../identity/node-identity.ts';
import type { PeerGate } from '../identity/peer-gate.ts';
import { TicketBook } from '../identity/ticket-book.ts';
import { HttpsListener } from '../listeners/https/https-listener.ts';
import { peerCertificates } from '../listeners/peer-certificates.ts';
import { QUIC_DEFAULTS } from '../listeners/quic/options.ts';
import { QuicListener } from '../listeners/quic/quic-listener.ts';
import { TlsServer } from '../listeners/tls-server.ts';
import { WebSocketListener } from '../listeners/websocket/websocket-listener.ts';
import { WebTransportListener } from '../listeners/webtransport/webtransport-listener.ts';
import { LISTENER_NAMES, type ListenerName } from '../protocol/listener-names.ts';
import type { Fleet } from './fleet.ts';

/** What listeners are made of; `start-gateway.ts` has built it all. */
export interface ListenerParts {
  readonly config: LiveConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly health: HealthRegistry;
  readonly gate: PeerGate;
  readonly adminGate: AdminGate;
  readonly certificates: CertificateManager;
  readonly tokens: TokenMinter;
  readonly backups: BackupWatcher;
  readonly issuer: CertificateIssuer;
  readonly revocations: RevocationAdmin;
  readonly rollover: CaRolloverAdmin;
  readonly crl: CrlSource;
  readonly history: NodeHistory;
  readonly served: ServedCertificates;
  readonly rejections: RejectionSink & RejectionDirectory;
  readonly hub: SessionHub;
  readonly nodes: NodeDirectory;
  readonly fleet: Pick<Fleet, 'ownership' | 'calls'>;
  readonly replicas: Replicas;
  readonly bus: MessageBus;
  readonly info: () => GatewayInfo;
  /** Judges bearer tokens on a cluster; undefined elsewhere. */
  readonly reviewer: BearerReviewer | undefined;
  /** Names this run of the gateway. */
  readonly startedAt: string;
}

/** The enabled listeners, in the order they start. */
export function composeListeners(parts: ListenerParts): Listener[] {
  const { config, gate, adminGate, certificates, tokens, issuer, revocations, hub, bus, health, info } =
    parts;
  const { clock, log, metrics, rejections } = parts;
  const shared = { clock, log, metrics, rejections };
  const edge = { ...shared, source: certificates, gate, acceptor: hub };
  const stillTrusted = (identity: NodeIdentity) => gate.stillTrusted(identity);
  const book = new TicketBook({ clock: parts.clock, stillTrusted });
  const tickets = new FleetTickets({ ...parts.fleet, book, stillTrusted });
  const tlsServer = (name: 'https' | 'admin') =>
    new TlsServer(
      { ...shared, source: certificates },
      config.view((now) => ({ name, ...now[name], tls: now.tls, limits: now.limits })),
    );
  const authenticate = (socket: TLSSocket) => {
    const { leaf, intermediates } = peerCertificates(socket);
    return adminGate.check(leaf, intermediates);
  };

  const builders: Readonly<Record<ListenerName, () => Listener>> = {
    https: () =>
      new HttpsListener(
        {
          ...edge,
          server: tlsServer('https'),
          issuer,
          crl: parts.crl,
          health,
          isKnownNode: (node) => hub.isConnectedAnywhere(node),
          ...(config.current.webtransport.enabled ? { tickets } : {}),
        },
        config.view(({ limits }) => ({
          ...limits,
          requestsPerMinutePerSource: limits.enrolmentsPerMinutePerIp,
          requestsPerMinute: limits.enrolmentsPerMinute,
        })),
      ),
    websocket: () =>
      new WebSocketListener(
        edge,
        config.view((now) => ({ ...now.websocket, ...now.hub, tls: now.tls, limits: now.limits })),
      ),
    quic: () =>
      new QuicListener(
        edge,
        config.view((now) => ({
          ...QUIC_DEFAULTS,
          ...now.limits,
          ...now.hub,
          ...now.quic,
          epoch: parts.startedAt,
        })),
      ),
    webtransport: () =>
      new WebTransportListener(
        { ...edge, tickets },
        config.view((now) => ({
          ...now.hub,
          ...now.webtransport,
          tls: now.tls,
          limits: now.limits,
          epoch: parts.startedAt,
        })),
      ),
    admin: () =>
      new AdminListener({
        ...shared,
        server: tlsServer('admin'),
        health,
        bus,
        nodes: parts.nodes,
        replicas: parts.replicas,
        certificates,
        tokens,
        backups: parts.backups,
        revocations,
        rollover: parts.rollover,
        history: parts.history,
        served: parts.served,
        info,
        authenticate,
        hosts: () => certificates.current().server.names,
        reviewer: parts.reviewer,
      }),
  };
  return LISTENER_NAMES.filter((name) => config.current[name].enabled).map((name) => builders[name]());
}
