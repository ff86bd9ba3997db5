import { expect, test } from 'vitest';
import { EdgeCoreSocket, joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

test('H3: at a stop every session is told why, with hints when to return that are spread, and the stop ends in time', async () => {
  await using hub = await startTestGateway({ settings: { 'limits.drainMs': '500' } });
  const closes: { code: number; text: string }[] = [];
  const sockets = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const node = `edge-${index}`;
      const { credentials } = await joinAsEdgeCore(hub.port('https'), {
        node,
        token: await hub.nodeToken(node),
      });
      const edge = await EdgeCoreSocket.open(hub.port('websocket'), node, credentials);
      edge.socket.once('close', (code, text) => closes.push({ code, text: String(text) }));
      return edge;
    }),
  );
  expect(sockets).toHaveLength(20);
  const start = Date.now();
  await hub.stop();
  expect(Date.now() - start).toBeLessThan(5_000);
  await eventually('every edge has seen its close', () => closes.length === 20);
  expect(closes.map(({ code }) => code)).toEqual(Array(20).fill(1012));
  const hints = closes.map(({ text }) => Number(/reconnectAfterMs=(\d+)/.exec(text)?.[1]));
  expect(hints.every((hint) => hint >= 0)).toBe(true);
  expect(new Set(hints).size).toBeGreaterThan(5);
  await hub.stop();
});

test('H3: an acknowledgement that is under way is awaited', async () => {
  await using hub = await startTestGateway({ settings: { 'limits.drainMs': '0' } });
  const { credentials } = await joinAsEdgeCore(hub.port('https'), {
    node: 'edge-1',
    token: await hub.nodeToken('edge-1'),
  });
  const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials);
  const arrived = new Promise<void>((resolve) => edge.socket.once('message', () => resolve()));
  const sending = hub.admin.post<{ kind: string }>('/api/v1/nodes/edge-1/messages', {
    resource: 'app/x',
    operation: 'update',
    content: 1,
    wait: 'ack',
  });
  await arrived;
  const stopping = hub.stop();
  setTimeout(() => edge.acknowledge(edge.received[0]!), 200);
  expect((await sending).kind).toBe('acknowledged');
  await stopping;
});
