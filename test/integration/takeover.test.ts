import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { EdgeCoreSocket, joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

const join = async (hub: Awaited<ReturnType<typeof startTestGateway>>, node: string) =>
  (await joinAsEdgeCore(hub.port('https'), { node, token: await hub.nodeToken(node) })).credentials;
const nodes = async (hub: Awaited<ReturnType<typeof startTestGateway>>) =>
  (await hub.admin.get<{ items: { node: string; sessionId: string }[] }>('/api/v1/nodes')).items;

test('G3: a node that connects again takes over; the old socket is told and its late end disturbs nobody', async () => {
  await using hub = await startTestGateway();
  const credentials = await join(hub, 'edge-1');
  const first = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials);
  const closed = new Promise<[number, string]>((resolve) =>
    first.socket.once('close', (code, reason) => resolve([code, String(reason)])),
  );
  await eventually('the first session is there', async () => (await nodes(hub)).length === 1);
  const { sessionId } = (await nodes(hub))[0]!;
  const second = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials);
  const [code, reason] = await closed;
  expect([code, reason.split(':')[0]]).toEqual([4409, 'TakenOver']);
  const after = await nodes(hub);
  expect(after).toHaveLength(1);
  expect(after[0]!.sessionId).not.toBe(sessionId);
  second.socket.close();
});

test('I12: 50 connects of one node at once leave one session, and the last one lives', async () => {
  await using hub = await startTestGateway({ settings: { 'hub.flapThreshold': '1000' } });
  const credentials = await join(hub, 'edge-1');
  const sockets = await Promise.all(
    Array.from({ length: 50 }, () => EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials)),
  );
  await eventually(
    'one socket is left open',
    () => sockets.filter(({ socket }) => socket.readyState === socket.OPEN).length === 1,
  );
  expect(await nodes(hub)).toHaveLength(1);
  const last = sockets.find(({ socket }) => socket.readyState === socket.OPEN)!;
  const sending = hub.admin.post<{ kind: string }>('/api/v1/nodes/edge-1/messages', {
    resource: 'app/x',
    operation: 'update',
    content: 1,
    wait: 'ack',
  });
  await eventually('the message arrives on it', () => last.received.length === 1);
  last.acknowledge(last.received[0]!);
  expect((await sending).kind).toBe('acknowledged');
  last.socket.close();
});

test('disconnect by an operator ends the session, and the SDK comes back by itself', async () => {
  await using hub = await startTestGateway();
  await using edge = await EdgeClient.join({
    ...hub.edgeOptions('edge-1'),
    token: await hub.nodeToken('edge-1'),
  });
  const reasons: (string | undefined)[] = [];
  edge.on('disconnected', ({ reason }) => void reasons.push(reason?.name));
  await edge.connect();
  await hub.admin.post('/api/v1/nodes/edge-1/disconnect');
  await eventually('the edge was told', () => reasons.length === 1);
  expect(reasons).toEqual(['Disconnected']);
  await eventually('it is back', async () => (await nodes(hub)).length === 1);
});
