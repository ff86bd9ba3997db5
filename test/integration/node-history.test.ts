import { expect, test } from 'vitest';
import type { NodeForecast, NodeRecord } from '../../src/contracts/node-history.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';

const history = async (hub: TestGateway) =>
  (await hub.admin.get<{ items: NodeRecord[] }>('/api/v1/nodes/history')).items;
const settings = (replica: string) => ({
  'hub.replica': replica,
  'certificates.historySyncMs': '200',
});

test('what was seen of nodes survives a restart, and two gateways on one folder put together what they saw', async () => {
  await using first = await startTestGateway({ settings: settings('one') });
  // Enrolled and never seen.
  await joinAsEdgeCore(first.port('https'), { node: 'edge-idle', token: await first.nodeToken('edge-idle') });
  {
    await using edge = await EdgeClient.join({
      ...first.edgeOptions('edge-1'),
      token: await first.nodeToken('edge-1'),
    });
    await edge.connect();
    await eventually('it is known', async () =>
      (await history(first)).some(({ connectedHere }) => connectedHere),
    );
  }
  await first.stop();

  await using one = await startTestGateway({ folder: first.folder, settings: settings('one') });
  const known = await history(one);
  expect(
    known.map(({ node, lastSeen, replica, connectedHere }) => [
      node,
      lastSeen !== undefined,
      replica,
      connectedHere,
    ]),
  ).toEqual([
    ['edge-1', true, 'one', false],
    ['edge-idle', false, undefined, false],
  ]);
  expect(known[0]!.certificate.issuerSha256).toBe(one.gateway.ready().caSha256);

  await using two = await startTestGateway({ folder: first.folder, settings: settings('two') });
  await using edge = await EdgeClient.join({
    ...two.edgeOptions('edge-2'),
    token: await two.nodeToken('edge-2'),
  });
  await edge.connect();
  await eventually('the other replica knows it', async () =>
    (await history(one)).some(({ node, replica }) => node === 'edge-2' && replica === 'two'),
  );
  const forecast = await one.admin.get<{ items: NodeForecast[] }>('/api/v1/nodes/forecast');
  expect(forecast.items.map(({ node, verdict }) => [node, verdict])).toEqual([
    ['edge-1', 'ok'],
    ['edge-2', 'ok'],
    ['edge-idle', 'ok'],
  ]);

  await one.admin.post('/api/v1/nodes/edge-1/forget');
  await expect(two.admin.post('/api/v1/nodes/edge-2/forget')).rejects.toMatchObject({
    code: 'NODE_STILL_CONNECTED',
  });
  await eventually('it is forgotten everywhere', async () =>
    (await history(two)).every(({ node }) => node !== 'edge-1'),
  );
});
