import type { TLSSocket } from 'node:tls';
import { AdminListener } from '../admin/admin-listener.ts';
import type { GatewayInfo } from '../contracts/gateway-info.ts';
import type { Listener } from '../contracts/listener.ts';
import type { RejectionDirectory } from '../contracts/rejections.ts';
import type { Replicas } from '../contracts/replicas.ts';
import { FleetTickets } from '../fleet/fleet-tickets.ts';
import type { NodeIdentity } from '../identity/node-identity.ts';
import { TicketBook } from '../identity/ticket-book.ts';
import { DescriptorBudget, openFilesLimit } from '../listeners/descriptor-budget.ts';
import { HttpsListener } from '../listeners/https/https-listener.ts';
import { peerCertificates } from '../listeners/peer-certificates.ts';
import { QUIC_DEFAULTS } from '../listeners/quic/options.ts';
import { QuicListener } from '../listeners/quic/quic-listener.ts';
import { TlsServer } from '../listeners/tls-server.ts';
import { TunnelListener } from '../listeners/tunnel/tunnel-listener.ts';
import { WebSocketListener } from '../listeners/websocket/websocket-listener.ts';
import { WebTransportListener } from '../listeners/webtransport/webtransport-listener.ts';
import { LISTENER_NAMES, type ListenerName } from '../protocol/listener-names.ts';
import type { Certificates } from './certificates.ts';
import type { Gate } from './gate.ts';
import type { GatewayWorld } from './gateway-world.ts';
import type { Messaging } from './messaging.ts';
import type { Recovery } from './recovery.ts';

/** What listeners are made of; the steps before have built it all. */
export interface ListenerParts {
  readonly world: GatewayWorld;
  readonly messaging: Messaging;
  readonly certificates: Certificates;
  readonly gate: Gate;
  readonly recovery: Recovery;
  readonly replicas: Replicas;
  readonly refused: RejectionDirectory;
  readonly info: () => GatewayInfo;
}

type Built = ListenerParts & { readonly tickets: FleetTickets; readonly descriptors: DescriptorBudget };

/** Left to the Secret store, health probes and administrators when sessions have taken all they may. */
const RESERVED_DESCRIPTORS = 512;
/** Of these, what requests over HTTPS leave. */
const RESERVED_FROM_REQUESTS = 256;

const BUILDERS: Readonly<Record<ListenerName, (parts: Built) => Listener>> = {
  https,
  websocket,
  quic,
  webtransport,
  tunnel,
  admin,
};

/** The enabled listeners, in the order they start. */
export function composeListeners(parts: ListenerParts): Listener[] {
  const { world, messaging, gate } = parts;
  const stillTrusted = (identity: NodeIdentity) => gate.peers.stillTrusted(identity);
  const book = new TicketBook({ clock: world.clock, stillTrusted });
  const { ownership, calls } = messaging;
  const tickets = new FleetTickets({ ownership, calls, book, stillTrusted });
  const isOn = (name: ListenerName) =>
    name === 'quic' ? world.quic.isOn : world.config.current[name].enabled;
  const enabled = LISTENER_NAMES.filter(isOn);
  const descriptors = descriptorsFor(world, enabled);
  return enabled.map((name) => BUILDERS[name]({ ...parts, tickets, descriptors }));
}

/** Says at the start when the system lets this process open fewer files than the configuration promises. */
function descriptorsFor({ config, log }: GatewayWorld, enabled: readonly ListenerName[]): DescriptorBudget {
  const limit = openFilesLimit();
  const { connections } = config.current.limits;
  const wanted = connections * enabled.filter((name) => name !== 'admin').length + RESERVED_DESCRIPTORS;
  if (limit < wanted)
    log.warn(
      { openFiles: limit, wanted, connections },
      'the system lets this process open fewer files than limits.connections asks for; raise its limit (ulimit -n, LimitNOFILE)',
    );
  return new DescriptorBudget(limit);
}

/** What every listener needs. */
function shared({ world: { clock, log, metrics }, recovery: { rejections } }: ListenerParts) {
  return { clock, log, metrics, rejections };
}

/** What every listener for edges needs. */
function edge(parts: Built) {
  const { messaging, certificates, gate } = parts;
  const descriptors = parts.descriptors.share({ leaving: RESERVED_DESCRIPTORS });
  const source = certificates.current;
  return { ...shared(parts), source, gate: gate.peers, acceptor: messaging.hub, descriptors };
}

function tlsServer(name: 'https' | 'admin', parts: Built): TlsServer {
  const descriptors =
    name === 'admin' ? undefined : parts.descriptors.share({ leaving: RESERVED_FROM_REQUESTS });
  return new TlsServer(
    { ...shared(parts), source: parts.certificates.current, descriptors },
    parts.world.config.view((now) => ({ name, ...now[name], tls: now.tls, limits: now.limits })),
  );
}

function https(parts: Built): Listener {
  const { config, health } = parts.world;
  const { hub, relaying } = parts.messaging;
  return new HttpsListener(
    {
      ...edge(parts),
      server: tlsServer('https', parts),
      issuer: parts.gate.issuer,
      crl: parts.gate.crl,
      health,
      isKnownNode: async (node) => (await hub.isConnectedAnywhere(node)) || relaying.knows(node),
      upstream: relaying.relay,
      ...(config.current.webtransport.enabled ? { tickets: parts.tickets } : {}),
    },
    config.view(({ limits }) => ({
      ...limits,
      requestsPerMinutePerSource: limits.enrolmentsPerMinutePerIp,
      requestsPerMinute: limits.enrolmentsPerMinute,
    })),
  );
}

function websocket(parts: Built): Listener {
  return new WebSocketListener(
    edge(parts),
    parts.world.config.view((now) => ({ ...now.websocket, ...now.hub, tls: now.tls, limits: now.limits })),
  );
}

function quic(parts: Built): Listener {
  const { config, startedAt: epoch } = parts.world;
  return new QuicListener(
    edge(parts),
    config.view((now) => ({ ...QUIC_DEFAULTS, ...now.limits, ...now.hub, ...now.quic, epoch })),
  );
}

function webtransport(parts: Built): Listener {
  const { config, startedAt: epoch } = parts.world;
  return new WebTransportListener(
    { ...edge(parts), tickets: parts.tickets },
    config.view((now) => ({ ...now.hub, ...now.webtransport, tls: now.tls, limits: now.limits, epoch })),
  );
}

function tunnel(parts: Built): Listener {
  return new TunnelListener(
    { ...edge(parts), tunnels: parts.messaging.relaying.tunnels },
    parts.world.config.view((now) => ({ ...now.tunnel, tls: now.tls, limits: now.limits })),
  );
}

function admin(parts: Built): Listener {
  const { world, messaging, certificates, gate, recovery, info } = parts;
  const { bus, nodes } = messaging;
  const { manager, revocations, history, reviewer } = certificates;
  const { tokens, backups, rollover } = gate;
  return new AdminListener({
    ...shared(parts),
    server: tlsServer('admin', parts),
    health: world.health,
    audit: world.audit,
    bus,
    nodes,
    replicas: parts.replicas,
    refused: parts.refused,
    certificates: manager,
    tokens,
    backups,
    revocations,
    rollover,
    history,
    served: recovery.served,
    info,
    authenticate: (socket: TLSSocket) => {
      const { leaf, intermediates } = peerCertificates(socket);
      return gate.admins.check(leaf, intermediates);
    },
    hosts: () => certificates.current.current().server.names,
    reviewer,
  });
}
