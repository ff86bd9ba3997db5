import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { NodeInfo } from '../../src/contracts/node-directory.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { eventually } from '../support/eventually.ts';
import { metric } from '../support/fleets/gateway-views.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';

const TRANSPORTS = ['websocket', 'quic', 'webtransport'] as const;
const yaml = (messages: number) =>
  `apiVersion: sallyport/v1\nkind: Gateway\nhub: {rate: {messages: ${messages}, burstMs: 20000}}\n`;
const shown = (hub: TestGateway, node: string) => hub.admin.get<NodeInfo>(`/api/v1/nodes/${node}`);

test('N2: a node that sends more than its rate is read slowly, over every transport: others go on, nothing is lost, no session ends', async () => {
  await using hub = await startTestGateway({
    yaml: yaml(1),
    settings: { 'quic.enabled': 'true', 'webtransport.enabled': 'true' },
  });
  const joined = async (node: string, transport: (typeof TRANSPORTS)[number]) => {
    const client = await EdgeClient.join({
      ...hub.edgeOptions(node),
      transport,
      token: await hub.nodeToken(node),
    });
    await client.connect();
    return client;
  };
  const fast = await Promise.all(TRANSPORTS.map((transport) => joined(`fast-${transport}`, transport)));
  const sessions = await Promise.all(TRANSPORTS.map((transport) => shown(hub, `fast-${transport}`)));
  let taken = 0;
  const sending = fast.flatMap((client) =>
    Array.from({ length: 40 }, async (_, n) => {
      await client.send({ resource: `default/app/${n}`, operation: 'update', content: n });
      taken++;
    }),
  );
  for (const transport of TRANSPORTS)
    await eventually(
      `${transport} is held back`,
      async () => (await shown(hub, `fast-${transport}`)).heldBackMs !== undefined,
    );
  const other = await joined('other', 'websocket');
  await other.send({ resource: 'default/app/x', operation: 'update', content: 1 });
  expect(taken).toBeLessThan(3 * 40);
  expect(await metric(hub, 'upstream_held_back_seconds_total', { limit: 'messages' })).toBeGreaterThan(0);

  writeFileSync(hub.file, yaml(100_000));
  expect(hub.config.reload().applied).toEqual(['hub.rate.messages']);
  await Promise.all(sending);
  for (const { node, sessionId } of sessions) expect((await shown(hub, node)).sessionId).toBe(sessionId);
  for (const client of [...fast, other]) await client.close();
}, 30_000);
