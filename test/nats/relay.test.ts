import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FakeApi } from '../support/cloudcore/fake-api.ts';
import { FakeCloudCore } from '../support/cloudcore/fake-cloudcore.ts';
import { FakeEdgeCore } from '../support/cloudcore/fake-edgecore.ts';
import { openTunnel } from '../support/cloudcore/open-tunnel.ts';
import { eventually } from '../support/eventually.ts';
import { GatewayFleet } from '../support/fleets/gateway-fleet.ts';
import { listNodes, metric } from '../support/fleets/gateway-views.ts';
import { type NatsServer, startNatsServer } from '../support/fleets/nats-server.ts';
import { writeCaSecret } from '../support/fleets/secret-files.ts';
import { mintCa, mintEdge, mintServer } from '../support/pki/pki.ts';

const NODE = 'e-rel';
const LEASE = `kube-node-lease/lease/${NODE}`;

let server: NatsServer;
beforeAll(async () => {
  server = await startNatsServer();
});
afterAll(() => server[Symbol.asyncDispose]());

/** Two gateways with one NATS, in front of CloudCores of one cluster. */
async function twoGateways({ cloudcores: count = 1 } = {}) {
  const ca = await mintCa();
  const parts = { ca, server: await mintServer(ca), api: new FakeApi(), authorization: true };
  const cloudcores = await Promise.all(Array.from({ length: count }, () => new FakeCloudCore(parts).start()));
  const fleet = new GatewayFleet();
  writeCaSecret(fleet.folder, ca);
  for (const replica of ['r1', 'r2'])
    await fleet.add(replica, server.url, {
      'upstream.kind': 'cloudcore',
      'upstream.addresses': cloudcores.map(({ address }) => address).join(),
      'upstream.tunnelAddresses': cloudcores.map(({ tunnelAddress }) => tunnelAddress).join(),
      'tunnel.enabled': 'true',
      'tunnel.host': '127.0.0.1',
      'tunnel.port': '0',
    });
  await fleet.whenWhole();
  const { pem: cert, key } = await mintEdge(ca, NODE);
  const credentials = { ca: ca.pem, cert, key };
  const edges: FakeEdgeCore[] = [];
  return {
    fleet,
    cloudcores,
    edge: async (replica: string) => {
      const port = () => fleet.get(replica).port('websocket');
      const edge = await new FakeEdgeCore({ node: NODE, port, credentials }).start();
      edges.push(edge);
      await eventually('it has a CloudCore', async () => {
        const [info] = await listNodes(fleet.get(replica));
        return info?.replica === replica && info.upstream?.state === 'open';
      });
      return edge;
    },
    tunnel: (replica: string) => openTunnel(fleet.get(replica).port('tunnel'), { claims: NODE, credentials }),
    home: () => cloudcores.find(({ nodes }) => nodes.includes(NODE))!,
    /** Where its tunnels lead to. */
    tunnels: () => cloudcores.filter(({ tunnels }) => tunnels.has(NODE)).map(({ address }) => address),
    async [Symbol.asyncDispose]() {
      for (const edge of edges) edge.stop();
      await fleet[Symbol.asyncDispose]();
      await Promise.all(cloudcores.map((one) => one.kill()));
    },
  };
}

test('U2: a node that goes to another gateway takes its connection to CloudCore along; the gateway before lets go, also of a connection that only looks open', async () => {
  await using it = await twoGateways();
  const [cloudcore] = it.cloudcores;
  const before = await it.edge('r1');
  expect(await before.ask('query', LEASE)).toBeDefined();
  before.vanish();
  const edge = await it.edge('r2');
  expect(await edge.ask('query', LEASE)).toBeDefined();
  await eventually('r1 has let go', async () => (await it.fleet.nodes('r1')).join() === `${NODE}@r2`);
  const connections = (replica: string) =>
    metric(it.fleet.get(replica), 'upstream_connections', { cloudcore: cloudcore!.address });
  await eventually('of CloudCore too', async () => (await connections('r1')) === 0);
  expect(await connections('r2')).toBe(1);
  // One from each gateway, and nobody came back.
  expect(cloudcore!.connects.map(({ node }) => node)).toEqual([NODE, NODE]);
  expect(cloudcore!.nodes).toEqual([NODE]);
  expect(edge.counts).toMatchObject({ closes: 0, unanswered: 0, twice: 0 });
});

test('U5: the tunnel is at the CloudCore that has the messages, through whichever gateway each of them comes', async () => {
  await using it = await twoGateways({ cloudcores: 2 });
  await it.edge('r2');
  const first = it.home();
  await first.kill();
  await eventually('it is at the other one', () => it.home() !== undefined);
  const second = it.home();
  await first.start();
  // By its own choice r1 would take the first one.
  const tunnel = await it.tunnel('r1');
  expect(it.tunnels()).toEqual([second.address]);

  // The messages move: to r1, which chooses anew.
  const gone = once(tunnel, 'close');
  await it.edge('r1');
  expect(it.home().address).toBe(first.address);
  await gone;
  await it.tunnel('r2');
  expect(it.tunnels()).toEqual([first.address]);
});
