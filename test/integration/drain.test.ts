import { once } from 'node:events';
import { expect, test } from 'vitest';
import { EdgeCoreSocket, joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { mintNode } from '../support/fleets/gateway-views.ts';
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
  const open = async (node: string) =>
    EdgeCoreSocket.open(hub.port('websocket'), node, await mintNode(hub, node));
  const [edge, idle] = [await open('edge-1'), await open('edge-2')];
  const arrived = new Promise<void>((resolve) => edge.socket.once('message', () => resolve()));
  const sending = hub.admin.post<{ kind: string }>('/api/v1/nodes/edge-1/messages', {
    resource: 'app/x',
    operation: 'update',
    content: 1,
    wait: 'ack',
  });
  await arrived;
  const idleEnds = once(idle.socket, 'close');
  const stopping = hub.stop();
  // Nothing is under way with this one: it goes at once.
  await idleEnds;
  edge.acknowledge(edge.received[0]!);
  expect((await sending).kind).toBe('acknowledged');
  await stopping;
});
