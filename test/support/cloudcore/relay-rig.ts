import { LocalBus } from '../../../src/bus/local/local-bus.ts';
import { CertificateAuthority } from '../../../src/certs/ca/certificate-authority.ts';
import { configSchema } from '../../../src/config/schema.ts';
import type { HeardEvent } from '../../../src/contracts/message-bus.ts';
import type { NodeOwnership } from '../../../src/contracts/node-ownership.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { LocalOwnership } from '../../../src/fleet/local-ownership.ts';
import { asUpstreamAuthority } from '../../../src/gateway/relay.ts';
import { SessionHub } from '../../../src/hub/session-hub.ts';
import { PeerGate } from '../../../src/identity/peer-gate.ts';
import { TunnelListener } from '../../../src/listeners/tunnel/tunnel-listener.ts';
import { WebSocketListener } from '../../../src/listeners/websocket/websocket-listener.ts';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { CloudCoreRelay } from '../../../src/relay/cloudcore-relay.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { metric } from '../edges/messages.ts';
import { bundleOf, FixedSource } from '../pki/fixed-source.ts';
import { asCaCertificate, mintCa, mintEdge, mintServer, type Pair } from '../pki/pki.ts';
import { FakeApi } from './fake-api.ts';
import { FakeCloudCore } from './fake-cloudcore.ts';
import { FakeEdgeCore } from './fake-edgecore.ts';
import { openTunnel } from './open-tunnel.ts';

export interface RelayRigOptions {
  readonly cloudcores?: number;
  readonly copy?: boolean;
  readonly holdMs?: number;
  /** In place of that of a gateway alone. */
  readonly ownership?: NodeOwnership;
}

/**
 * The part of a gateway that an edge and a CloudCore see, between real sockets, with a clock that moves when
 * told to: listener, hub, relay.
 */
export async function startRelayRig({
  cloudcores: count = 1,
  copy = false,
  holdMs = 300_000,
  ownership,
}: RelayRigOptions = {}) {
  const clock = new ManualClock();
  const metrics = createMetrics({ process: false });
  const parts = { clock, log: silentLogger, metrics };
  const start = clock.now();
  const dates = { notBefore: new Date(start - 86_400_000), notAfter: new Date(start + 365 * 86_400_000) };
  const ca = await mintCa(dates);
  const server = await mintServer(ca, dates);
  const api = new FakeApi();
  const newCloudCore = (own: Pair = server) =>
    new FakeCloudCore({ ca, server: own, api, clock, authorization: true });
  const cloudcores = await Promise.all(Array.from({ length: count }, () => newCloudCore().start()));

  const authority = CertificateAuthority.fromSecret(
    {
      name: 'casecret',
      data: { cadata: ca.der, cakeydata: ca.privateKey.export({ type: 'sec1', format: 'der' }) },
    },
    { clock },
  );
  let addresses = cloudcores.map(({ address }) => address);
  const config = configSchema.parse({});
  const { queue, ...hubDefaults } = config.hub;
  const revoked = new Set<string>();
  const gate = new PeerGate(
    {
      clock,
      trust: () => [asCaCertificate(ca)],
      isRevoked: ({ nodeName }) => (revoked.has(nodeName) ? { word: 'revoked', text: 'theft' } : undefined),
    },
    () => config.identity,
  );
  const source = new FixedSource(bundleOf({ ca, server }));
  const events: HeardEvent[] = [];

  /** What other gateways would say: node → address of the CloudCore it has through them. */
  const elsewhere = new Map<string, string>();

  async function startFront() {
    const relay = new CloudCoreRelay(
      {
        ...parts,
        authorities: () => [asUpstreamAuthority(authority)],
        homeElsewhere: async (node) => elsewhere.get(node),
        random: () => 0.5,
      },
      () => ({
        addresses,
        tunnelAddresses: addresses.map(
          (one) => cloudcores.find(({ address }) => address === one)?.tunnelAddress ?? one,
        ),
        httpsAddresses: addresses,
        holdMs,
      }),
    );
    const bus = new LocalBus(parts, () => queue);
    bus.subscribe({}, (event) => events.push(event));
    const hub = new SessionHub(
      {
        ...{ ...parts, bus, relay },
        ownership: ownership ?? new LocalOwnership({ clock }, { replica: 'test' }),
      },
      () => ({ ...hubDefaults, replica: 'test', copyUpstream: copy }),
    );
    const place = { host: '127.0.0.1', port: 0, tls: config.tls, limits: config.limits };
    const listener = new WebSocketListener({ ...parts, source, gate, acceptor: hub }, () => ({
      ...config.hub,
      ...place,
    }));
    const tunnel = new TunnelListener({ ...parts, source, gate, tunnels: relay }, () => place);
    for (const one of [bus, relay, hub, listener, tunnel]) await one.start();
    return {
      hub,
      relay,
      port: listener.address().port,
      tunnelPort: tunnel.address().port,
      async kill() {
        const now = AbortSignal.abort();
        await Promise.all([hub.stop(), relay.stop()]);
        for (const one of [listener, tunnel]) await one.stop(closeReason('Draining'), now);
        await bus.stop();
      },
    };
  }

  const fronts = [await startFront()];
  const [{ hub, relay, tunnelPort }] = fronts as [Awaited<ReturnType<typeof startFront>>];
  const edges: FakeEdgeCore[] = [];
  let connects = 0;
  const credentialsOf = async (node: string) => {
    const { pem: cert, key } = await mintEdge(ca, node, dates);
    return { ca: ca.pem, cert, key };
  };
  return {
    ...parts,
    ca,
    api,
    cloudcores,
    cloudcore: cloudcores[0]!,
    newCloudCore,
    /** As good as that of a CloudCore, but for the CA it is from. */
    certificateOfStranger: async () => mintServer(await mintCa(dates), dates),
    /** Gateways; edges come to one after the other. Without NATS they know nothing of each other. */
    fronts,
    startFront,
    relay,
    hub,
    elsewhere,
    events,
    gate,
    revoked,
    use: (next: readonly string[]) => {
      addresses = [...next];
    },
    metric: (name: string, labels?: Record<string, string>) => metric(metrics, name, labels),
    edge: async (node: string) => {
      const port = () => fronts[connects++ % fronts.length]!.port;
      const edge = new FakeEdgeCore({ node, port, credentials: await credentialsOf(node), clock });
      edges.push(edge);
      return edge.start();
    },
    /** At the first gateway. @param claims the name in its header */
    tunnel: async (node: string, claims = node) =>
      openTunnel(tunnelPort, { claims, credentials: await credentialsOf(node) }),
    async [Symbol.asyncDispose]() {
      for (const edge of edges) edge.stop();
      for (const front of fronts) await front.kill();
      await Promise.all(cloudcores.map((one) => one.kill()));
    },
  };
}
