import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AdminError } from '../../src/cli/admin-client.ts';
import type { NodeInfo } from '../../src/contracts/node-directory.ts';
import type { ReplicaListing } from '../../src/contracts/replicas.ts';
import type { RevocationReceipt } from '../../src/contracts/revocations.ts';
import { joinAsEdgeCore } from '../support/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { closed, GatewayFleet } from '../support/gateway-fleet.ts';
import { type NatsServer, startNatsServer } from '../support/nats-server.ts';

let server: NatsServer;
beforeAll(async () => {
  server = await startNatsServer();
});
afterAll(() => server[Symbol.asyncDispose]());

const start = (...names: string[]) =>
  GatewayFleet.start({ gateways: Object.fromEntries(names.map((name) => [name, server.url])) });

test('a node that reconnects at another replica is taken over; every replica tells the same, and reaches it', async () => {
  await using fleet = await start('r1', 'r2', 'r3');
  const credentials = await fleet.credentials('edge-1', 'r1');
  const first = await fleet.connect('edge-1', 'r1', credentials);
  const end = closed(first);
  await eventually('it is at r1', async () => (await fleet.nodes('r3')).join() === 'edge-1@r1');
  const second = await fleet.connect('edge-1', 'r2', credentials);
  expect(await end).toBe('4409 TakenOver');
  for (const replica of ['r1', 'r2', 'r3'])
    await eventually(`${replica} knows`, async () => (await fleet.nodes(replica)).join() === 'edge-1@r2');
  expect((await fleet.list('r1')).unanswered).toEqual([]);
  const shown = await fleet.get('r1').admin.get<NodeInfo>('/api/v1/nodes/edge-1');
  expect(shown).toMatchObject({ node: 'edge-1', replica: 'r2', transport: 'websocket' });

  const told = closed(second);
  await fleet.get('r3').admin.post('/api/v1/nodes/edge-1/disconnect');
  expect(await told).toBe('4415 Disconnected');
  await eventually('it is nowhere', async () => (await fleet.nodes('r1')).length === 0);
  await expect(fleet.get('r1').admin.get('/api/v1/nodes/edge-1')).rejects.toMatchObject({
    code: 'NODE_NOT_FOUND',
  });
});

test('what is asked of a node that is nowhere fails at once, not by time-out', async () => {
  await using fleet = await start('r1', 'r2');
  const begun = Date.now();
  const message = { resource: 'app/x', operation: 'update', content: 1, wait: 'ack', timeoutMs: 60_000 };
  await expect(fleet.get('r1').admin.post('/api/v1/nodes/nobody/messages', message)).rejects.toMatchObject({
    code: 'NODE_OFFLINE',
  });
  await expect(fleet.get('r2').admin.post('/api/v1/nodes/nobody/disconnect')).rejects.toMatchObject({
    code: 'NODE_NOT_FOUND',
  });
  expect(Date.now() - begun).toBeLessThan(10_000);
});

test('G3, I12: one node that connects to two replicas many times is left with one session in the whole fleet', async () => {
  await using fleet = await start('r1', 'r2');
  const credentials = await fleet.credentials('edge-1', 'r1');
  const sockets = await Promise.all(
    Array.from({ length: 40 }, (_, index) => fleet.connect('edge-1', index % 2 ? 'r1' : 'r2', credentials)),
  );
  const open = () => sockets.filter(({ socket }) => socket.readyState === socket.OPEN);
  await eventually('one is left', () => open().length === 1);
  await eventually('all know of one', async () => (await fleet.list('r1')).items.length === 1);
  expect(await fleet.nodes('r2')).toEqual(await fleet.nodes('r1'));
  expect(open()).toHaveLength(1);
});

test('D11: a token join for a node that is connected at another replica is refused', async () => {
  await using fleet = await start('r1', 'r2');
  const credentials = await fleet.credentials('edge-1', 'r1');
  const socket = await fleet.connect('edge-1', 'r1', credentials);
  const join = async () => {
    const hub = fleet.get('r2');
    return (await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token: await hub.nodeToken('edge-1') }))
      .answer;
  };
  await eventually('r2 knows', async () => (await fleet.nodes('r2')).length === 1);
  const refused = await join();
  expect([refused.status, refused.body.toString()]).toEqual([403, expect.stringMatching(/connected/)]);
  const gone = closed(socket);
  socket.socket.close();
  await gone;
  await eventually('it is nowhere', async () => (await fleet.nodes('r2')).length === 0);
  expect((await join()).status).toBe(200);
});

test('G7, E5: a revocation at one replica closes the session at another, and the receipt names every replica; a token is used once', async () => {
  await using fleet = await start('r1', 'r2');
  const credentials = await fleet.credentials('edge-1', 'r2');
  const socket = await fleet.connect('edge-1', 'r2', credentials);
  await eventually('r1 knows', async () => (await fleet.nodes('r1')).length === 1);
  const end = closed(socket);
  const begun = Date.now();
  const { revocation } = await fleet
    .get('r1')
    .admin.post<RevocationReceipt>('/api/v1/revocations', { node: 'edge-1' });
  expect(await end).toBe('4413 Revoked');
  expect(Date.now() - begun).toBeLessThan(10_000);
  await eventually('the receipt is complete', async () => {
    const receipt = await fleet
      .get('r1')
      .admin.get<RevocationReceipt>(`/api/v1/revocations/${revocation!.id}`);
    const closedAt = receipt.replicas.filter((one) => one.closed.some(({ node }) => node === 'edge-1'));
    return (
      receipt.complete &&
      receipt.replicas.length === 2 &&
      closedAt.map(({ replica }) => replica).join() === 'r2'
    );
  });

  const token = await fleet.get('r1').nodeToken('edge-2');
  const statuses = [];
  for (const replica of ['r2', 'r1'])
    statuses.push(
      (await joinAsEdgeCore(fleet.get(replica).port('https'), { node: 'edge-2', token })).answer.status,
    );
  expect(statuses).toEqual([200, 401]);
});

test('every replica says what it serves, and one that does not answer is named', async () => {
  await using fleet = await start('r1', 'r2');
  const { admin } = fleet.get('r1');
  const { items } = await admin.get<ReplicaListing>('/api/v1/replicas');
  expect(items.map(({ replica }) => replica).sort()).toEqual(['r1', 'r2']);
  for (const { listeners } of items)
    for (const { servedFingerprint } of listeners)
      expect(servedFingerprint).toBe(items[0]!.listeners[0]!.servedFingerprint);
  await fleet.get('r2').stop();
  await eventually(
    'r2 has left',
    async () => (await admin.get<ReplicaListing>('/api/v1/replicas')).items.length === 1,
  );
});

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: AdminError) => error.code,
  );

test('without NATS the edges stay connected, readiness says what is missing, and what cannot be known is an error', async () => {
  await using own = await startNatsServer();
  await using fleet = await GatewayFleet.start({ gateways: { r1: own.url } });
  const credentials = await fleet.credentials('edge-1', 'r1');
  const socket = await fleet.connect('edge-1', 'r1', credentials);
  const { admin } = fleet.get('r1');
  await own.kill();
  await eventually('it is noticed', async () => (await fleet.list('r1')).unanswered.length > 0);
  expect((await fleet.list('r1')).unanswered).toMatchObject([{ replica: '*' }]);
  expect(await fleet.nodes('r1')).toEqual(['edge-1@r1']);
  expect(socket.socket.readyState).toBe(socket.socket.OPEN);
  expect(await failure(admin.get('/api/v1/nodes/elsewhere'))).toBe('BUS_UNAVAILABLE');
  const late = await fleet.connect('edge-1', 'r1', credentials);
  await own.start();
  await eventually('it is whole again', async () => (await fleet.list('r1')).unanswered.length === 0, 60_000);
  expect(late.socket.readyState).toBe(late.socket.OPEN);
  expect(await fleet.nodes('r1')).toEqual(['edge-1@r1']);
});
