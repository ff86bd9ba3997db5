import { AdminListener } from '../../../src/admin/admin-listener.ts';
import type { AdminOptions } from '../../../src/admin/options.ts';
import { RevocationService } from '../../../src/certs/revocation/revocation-service.ts';
import type { AuditEntry, AuditTrail } from '../../../src/contracts/audit-trail.ts';
import type { BearerReviewer } from '../../../src/contracts/bearer-reviewer.ts';
import type {
  CaRolloverAdmin,
  CaRolloverStatus,
  RolloverRequest,
} from '../../../src/contracts/ca-rollover.ts';
import type { CertificateAdmin, TokenMinter } from '../../../src/contracts/certificate-issuer.ts';
import type { GatewayInfo } from '../../../src/contracts/gateway-info.ts';
import type {
  EventFilter,
  HeardEvent,
  MessageBus,
  SubscribeOptions,
  Subscription,
  UpstreamEvent,
} from '../../../src/contracts/message-bus.ts';
import type {
  NodeDirectory,
  NodeInfo,
  SendRequest,
  SendResult,
  Unanswered,
} from '../../../src/contracts/node-directory.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { HealthRegistry } from '../../../src/core/health.ts';
import { type Logger, silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { FleetRejections } from '../../../src/fleet/fleet-rejections.ts';
import { localCalls } from '../../../src/fleet/local-calls.ts';
import { LocalOwnership } from '../../../src/fleet/local-ownership.ts';
import { SecretReplicaBoard } from '../../../src/fleet/secret-replica-board.ts';
import { NodeHistoryService } from '../../../src/history/node-history-service.ts';
import { AdminGate } from '../../../src/identity/admin-gate.ts';
import { peerCertificates } from '../../../src/listeners/peer-certificates.ts';
import { RejectionLog } from '../../../src/listeners/rejection-log.ts';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { type Call, call } from '../../support/edges/https-client.ts';
import { testTlsServer } from '../../support/edges/test-tls-server.ts';
import { freshSource } from '../../support/pki/fixed-source.ts';
import { type CertOptions, mint, OID, type Pair } from '../../support/pki/pki.ts';

export const mintAdmin = (issuer: Pair, options: CertOptions = {}): Promise<Pair> =>
  mint({ subject: 'O=sallyport:admins,CN=admin', issuer, usages: [OID.clientAuth], ...options });

export const someNode: NodeInfo = {
  node: 'edge-1',
  sessionId: 's-1',
  replica: 'hub-1',
  transport: 'websocket',
  remoteAddress: '127.0.0.1',
  projectId: 'p',
  connectedSince: '2026-01-01T00:00:00.000Z',
  lastHeard: '2026-01-01T00:00:10.000Z',
  certificate: {
    serial: '01',
    sha256: 'ab',
    issuer: 'CN=KubeEdge',
    issuerSha256: 'cd',
    notAfter: '2027-01-01T00:00:00.000Z',
  },
  queued: 0,
  unacknowledged: 0,
  messagesReceived: 3,
  messagesSent: 4,
  bytesReceived: 5,
  bytesSent: 6,
};

export class FakeNodes implements NodeDirectory {
  readonly sent: SendRequest[] = [];
  readonly disconnected: string[] = [];
  result: () => SendResult | Promise<SendResult> = () => ({ kind: 'queued' });

  unanswered: Unanswered[] = [];

  list = async () => ({ items: [someNode], unanswered: this.unanswered });
  get = async (node: string) => (node === someNode.node ? someNode : undefined);

  async disconnect(node: string): Promise<boolean> {
    this.disconnected.push(node);
    return node === someNode.node;
  }

  async send(request: SendRequest): Promise<SendResult> {
    this.sent.push(request);
    return this.result();
  }
}

/** Keeps every event but `lost`, and replays those after `afterId` inside `subscribe`, as a bus does. */
export class FakeBus implements Pick<MessageBus, 'subscribe'> {
  readonly #events: HeardEvent[] = [];
  /** How many of the oldest are kept no more. */
  lost = 0;
  readonly followers = new Set<{ filter: EventFilter; onEvent: (event: HeardEvent) => void }>();

  publish(event: UpstreamEvent): void {
    const stored = { id: String(this.#events.length + 1), event };
    this.#events.push(stored);
    for (const { onEvent } of [...this.followers]) onEvent(stored);
  }

  subscribe(
    filter: EventFilter,
    onEvent: (event: HeardEvent) => void,
    { afterId, onMissed }: SubscribeOptions = {},
  ): Subscription {
    const follower = { filter, onEvent };
    this.followers.add(follower);
    if (afterId !== undefined) {
      const from = Math.max(Number(afterId), this.lost);
      if (from > Number(afterId)) onMissed?.({ count: from - Number(afterId) });
      for (const event of this.#events.slice(from)) onEvent(event);
    }
    return {
      position: () => String(this.#events.length),
      end: () => void this.followers.delete(follower),
    };
  }
}

/** Remembers what was recorded; a full disk when `full`. */
export class FakeAudit implements AuditTrail {
  readonly entries: AuditEntry[] = [];
  full = false;

  record(entry: AuditEntry): boolean {
    if (!this.full) this.entries.push(entry);
    return !this.full;
  }

  problem = () => (this.full ? 'no space left' : undefined);
}

export class FakeRollover implements CaRolloverAdmin {
  readonly requests: RolloverRequest[] = [];
  refusal: Error | undefined;
  current: CaRolloverStatus = {
    phase: 'idle',
    version: 0,
    issuing: { sha256: 'ab', subject: 'CN=KubeEdge', notAfter: '2036-01-01T00:00:00.000Z' },
    steps: [],
    asking: false,
    replicas: [],
    nodes: { total: 0, current: 0, old: 0, new: 0, other: 0, dependent: 0 },
    summary: 'no rollover is under way',
    next: [{ step: 'prepare', blockers: [] }],
    warnings: [],
    items: [],
  };

  status = () => this.current;

  async step(request: RolloverRequest): Promise<CaRolloverStatus> {
    this.requests.push(request);
    if (this.refusal) throw this.refusal;
    return this.current;
  }
}

/** An admin listener on a free port with a real CA; everything behind it is a fake a test can look at. */
export async function startAdmin({
  options = {},
  clock = systemClock,
  log = silentLogger,
  reviewer,
}: {
  options?: Partial<AdminOptions>;
  clock?: Clock;
  log?: Logger;
  reviewer?: BearerReviewer;
} = {}) {
  const { ca, source } = await freshSource();
  const admin = await mintAdmin(ca);
  const nodes = new FakeNodes();
  const bus = new FakeBus();
  const health = new HealthRegistry();
  const metrics = createMetrics({ process: false });
  const calls: string[] = [];
  const gateClock = { now: () => Date.now() + fixture.skewMs };
  const gate = new AdminGate({
    cas: () => [source.current().ca],
    clock: gateClock,
    isRevoked: (certificate) => revocations.isRevoked({ ...certificate, nodeName: '' }),
  });
  const certificates: CertificateAdmin = {
    rotateHub: async () => void calls.push('rotate'),
    acceptStored: async () => void calls.push('accept'),
    status: () => ({
      certificates: [],
      wantedFingerprint: source.current().fingerprint,
      lastReload: '2026-01-01T00:00:00.000Z',
    }),
  };
  const tokens: TokenMinter = {
    createNodeToken: async (node, ttlMs) => ({ token: `${node} ${ttlMs}`, expiresAt: new Date(0) }),
    fleetToken: async () => ({ token: 'fleet', expiresAt: new Date(0) }),
    describeFleetToken: () => undefined,
    revokeAll: async () => void calls.push('revoke'),
  };
  const shared = { store: new MemorySecretStore(), clock, log, metrics };
  const board = new SecretReplicaBoard(shared, () => ({ secret: 'sallyport-replicas', replica: 'hub-1' }));
  const revocations = new RevocationService({ ...shared, board }, () => ({
    secret: 'sallyport-revocations',
    backdateMs: 0,
  }));
  await revocations.load(AbortSignal.timeout(5_000));
  const rollover = new FakeRollover();
  const history = new NodeHistoryService({ store: new MemorySecretStore(), clock, log, metrics }, () => ({
    secret: 'sallyport-history',
    maxShards: 16,
    replica: 'hub-1',
    syncMs: 300_000,
    graceDays: 30,
    edgeDays: 365,
  }));
  const rejections = new RejectionLog({ clock });
  const audit = new FakeAudit();
  const info = (): GatewayInfo => ({
    version: '1.2.3',
    replica: 'hub-1',
    startedAt: '2026-01-01T00:00:00.000Z',
    now: '2026-01-01T00:00:01.000Z',
    secretStore: 'a folder',
    bus: 'local',
    advertise: ['localhost'],
    caSha256: ca.sha256,
    draining: false,
    nodes: 1,
    listeners: [
      { name: 'https', host: '::1', port: 10002, servedFingerprint: source.current().fingerprint },
      { name: 'admin', host: '127.0.0.1', port: 10010, servedFingerprint: 'an older one' },
    ],
  });
  const server = testTlsServer({ name: 'admin', source, log });
  const listener = new AdminListener(
    {
      server,
      authenticate: (socket) => {
        const { leaf, intermediates } = peerCertificates(socket);
        return gate.check(leaf, intermediates);
      },
      hosts: () => ['hub', 'hub.example', '*.wild.example'],
      reviewer,
      nodes,
      bus,
      certificates,
      tokens,
      backups: { status: async () => ({ secret: 'sallyport-backup', coversCa: false }) },
      revocations,
      rollover,
      history,
      served: { list: async () => [] },
      rejections,
      refused: new FleetRejections({
        ownership: new LocalOwnership({ clock }, { replica: 'hub-1' }),
        calls: localCalls,
        local: rejections,
      }),
      audit,
      health,
      info,
      replicas: { list: async () => ({ items: [info()], unanswered: [] }) },
      clock,
      log,
      metrics,
    },
    options,
  );
  await listener.start();
  const fixture = {
    /** Moves the clock of the gate alone. */
    skewMs: 0,
    ca,
    source,
    admin,
    nodes,
    bus,
    revocations,
    rollover,
    history,
    rejections,
    audit,
    health,
    metrics,
    calls,
    listener,
    get: (path: string, more: Partial<Call> = {}) =>
      call({ to: listener.address(), ca, path, as: admin, ...more }),
    post: (path: string, body?: unknown, more: Partial<Call> = {}) =>
      call({
        to: listener.address(),
        ca,
        path,
        as: admin,
        method: 'POST',
        ...(body === undefined
          ? {}
          : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
        ...more,
      }),
    [Symbol.asyncDispose]: () => listener.stop(closeReason('Draining'), AbortSignal.abort()),
  };
  return fixture;
}
