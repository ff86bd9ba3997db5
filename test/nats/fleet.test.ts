import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AdminError } from '../../src/cli/admin/admin-error.ts';
import type { GatewayInfo } from '../../src/contracts/gateway-info.ts';
import type { NodeInfo } from '../../src/contracts/node-directory.ts';
import type { RejectionListing } from '../../src/contracts/rejections.ts';
import type { ReplicaListing } from '../../src/contracts/replicas.ts';
import type { RevocationReceipt } from '../../src/contracts/revocations.ts';
import { REPLICA_TIMES } from '../../src/fleet/nats-replicas.ts';
import type { Message } from '../../src/protocol/message.ts';
import { EdgeCoreSocket, joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { TcpRelay } from '../support/edges/tcp-relay.ts';
import { eventually } from '../support/eventually.ts';
import { closed, GatewayFleet } from '../support/fleets/gateway-fleet.ts';
import { sendDown } from '../support/fleets/gateway-views.ts';
import { type NatsServer, startNatsServer } from '../support/fleets/nats-server.ts';
import { startGatewayProcess } from '../support/fleets/process.ts';
import type { TestGateway } from '../support/fleets/test-gateway.ts';

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

test('F4: whom one replica refused, every replica tells, with its name', async () => {
  await using fleet = await start('r1', 'r2');
  const credentials = await fleet.credentials('edge-1', 'r1');
  await expect(fleet.connect('edge-9', 'r2', credentials)).rejects.toThrow(/403/);
  for (const name of ['r1', 'r2']) {
    const { items, unanswered } = await fleet
      .get(name)
      .admin.get<RejectionListing>('/api/v1/rejections?reason=node-mismatch');
    expect(unanswered).toEqual([]);
    expect(items).toMatchObject([{ replica: 'r2', node: 'edge-1', count: 1 }]);
  }
});

test('L8: two gateways of one name say so to whoever looks, until one is gone', async () => {
  await using fleet = await start('r1');
  const one = fleet.get('r1');
  const two = await fleet.add('r2', server.url, { 'hub.replica': 'r1' });
  const told = async ({ admin }: TestGateway) => [
    (await admin.get<GatewayInfo>('/api/v1/info')).namesake !== undefined,
    /\+\]fleet .*same name.*hub\.replica/.test((await admin.text('/readyz?verbose')).text),
  ];
  for (const gateway of [one, two])
    await eventually('it is told', async () => (await told(gateway)).join() === 'true,true');
  await two.stop();
  await eventually('the name is its own', async () => (await told(one)).join() === 'false,false');
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

test('H1, L3: a message that enters any replica reaches its node once, with its acknowledgement; what nodes send is heard at every replica', async () => {
  await using fleet = await start('r1', 'r2');
  const credentials = await fleet.credentials('edge-1', 'r1');
  const socket = await fleet.connect('edge-1', 'r2', credentials);
  await eventually('r1 knows', async () => (await fleet.nodes('r1')).join() === 'edge-1@r2');

  const heard: string[] = [];
  const following = new AbortController();
  const events = fleet.get('r1').admin.events('/api/v1/events', { signal: following.signal });
  const followed = (async () => {
    for await (const { data } of events) {
      const { type, message, reason } = data as {
        type: string;
        message?: { content: unknown };
        reason?: string;
      };
      heard.push([type, message?.content, reason].filter((part) => part !== undefined).join(' '));
    }
  })();
  const sending = sendDown(fleet.get('r1'), 'edge-1', { resource: 'app/x', content: 1, wait: 'ack' });
  await eventually('the message arrives', () => socket.received.length === 1);
  socket.acknowledge(socket.received[0]!);
  expect((await sending).kind).toBe('acknowledged');

  socket.send({ source: 'app', group: 'user', operation: 'update', resource: 'app/y' }, 'up');
  await eventually('r1 heard', () => heard.includes('message up'));
  const again = await fleet.connect('edge-1', 'r1', credentials);
  const afterwards = () => heard.slice(heard.lastIndexOf('message up') + 1);
  await eventually('r1 heard of the move', () => afterwards().includes('connected'));
  const gone = closed(again);
  again.socket.close();
  await gone;
  await eventually(
    'and of the end',
    () => heard.at(-1) === 'disconnected Gone' || heard.at(-1) === 'disconnected Normal',
  );
  // One order for all: the end of the old session comes before the new one, whoever tells it.
  expect(afterwards().slice(0, 2)).toEqual(['disconnected TakenOver', 'connected']);
  expect(socket.received).toHaveLength(1);
  following.abort();
  await followed;
});

test('P6: what goes to a node is shown at the replica where it is followed, and what was cut off meanwhile is not hidden', async () => {
  await using relay = await TcpRelay.to(server.port);
  await using fleet = await GatewayFleet.start({
    gateways: { r1: `nats://127.0.0.1:${relay.port}`, r2: server.url },
    settings: {},
  });
  const credentials = await fleet.credentials('edge-1', 'r2');
  const socket = await fleet.connect('edge-1', 'r2', credentials);
  const heard: string[] = [];
  const following = new AbortController();
  const path = '/api/v1/events?direction=upstream&direction=downstream&type=message';
  const followed = (async () => {
    for await (const { data } of fleet.get('r1').admin.events(path, { signal: following.signal })) {
      const { type, direction, message } = data as { type: string; direction?: string; message?: Message };
      heard.push([type, direction, message?.route.resource, message?.content].join(' '));
    }
  })();
  // Until r2 has heard that somebody follows, it shows nothing.
  let sent = 0;
  const showsUp = async () => {
    await sendDown(fleet.get('r2'), 'edge-1', { resource: `app/x${sent}`, content: sent++ });
    return heard.some((line) => line.startsWith('message downstream node/edge-1/app/x'));
  };
  await eventually('r1 is shown what r2 sends', showsUp);
  socket.send({ source: 'app', group: 'user', operation: 'update', resource: 'app/y' }, 'up');
  await eventually('beside what the node says', () =>
    heard.includes('message upstream node/edge-1/app/y up'),
  );
  heard.length = 0;
  relay.cut();
  await eventually('r1 noticed', async () => (await fleet.list('r1')).unanswered.length > 0);
  relay.mend();
  await eventually('r1 says so', () => heard.includes('missed downstream  '));
  await eventually('and is shown what is sent again', showsUp);
  following.abort();
  await followed;
});

test('split brain: cut off from NATS, a replica acknowledges nothing, delivers nothing, and lets go of what has moved', async () => {
  await using relay = await TcpRelay.to(server.port);
  await using fleet = await GatewayFleet.start({
    gateways: { cut: `nats://127.0.0.1:${relay.port}`, other: server.url },
    settings: { 'bus.nats.holdMs': '500' },
  });
  const moves = await fleet.credentials('moves', 'other');
  const stays = await fleet.credentials('stays', 'other');
  const old = await fleet.connect('moves', 'cut', moves);
  const loyal = await fleet.connect('stays', 'cut', stays);
  await eventually('both are there', async () => (await fleet.nodes('other')).length === 2);

  relay.cut();
  await eventually('it is noticed', async () => (await fleet.list('cut')).unanswered.length > 0);
  // Not acknowledged: it cannot be handed on.
  const upstream = { source: 'app', group: 'user', operation: 'update', resource: 'app/y' };
  const id = old.send(upstream, 'lost?', undefined, { sync: true });
  await eventually('it is told so', () => old.received.some(({ header }) => header.parent_msg_id === id));
  expect(old.received.find(({ header }) => header.parent_msg_id === id)!.route.operation).toBe('error');

  for (const node of ['moves', 'stays'])
    await sendDown(fleet.get('other'), node, { resource: `app/${node}`, content: node, wait: 'queued' });
  const now = await fleet.connect('moves', 'other', moves);
  const downstream = ({ received }: typeof now) => received.filter(({ header }) => !header.parent_msg_id);
  await eventually('the node gets it where it is', () => downstream(now).length === 1);
  now.acknowledge(downstream(now)[0]!);
  expect(old.socket.readyState).toBe(old.socket.OPEN);
  expect(downstream(old)).toEqual([]);
  expect(downstream(loyal)).toEqual([]);

  const end = closed(old);
  relay.mend();
  expect(await end).toBe('4409 TakenOver');
  await eventually('who stayed gets its message', () => downstream(loyal).length === 1);
  loyal.acknowledge(downstream(loyal)[0]!);
  await eventually('one truth', async () => (await fleet.nodes('cut')).join() === 'moves@other,stays@cut');
  expect(await fleet.nodes('other')).toEqual(['moves@other', 'stays@cut']);
  expect(downstream(now)).toHaveLength(1);
  expect(now.socket.readyState).toBe(now.socket.OPEN);
});

test('H1: a replica that is killed is noticed, its nodes are free, and what waited for them is delivered elsewhere', async () => {
  await using fleet = await start('r1');
  const victim = await startGatewayProcess(fleet.folder, fleet.settings('victim', server.url));
  await fleet.whenWhole(2);
  const port = Number(victim.ready.websocket.split(':').at(-1));
  const [back, away] = [await fleet.credentials('back', 'r1'), await fleet.credentials('away', 'r1')];
  await EdgeCoreSocket.open(port, 'back', back);
  await EdgeCoreSocket.open(port, 'away', away);
  await eventually(
    'both are there',
    async () => (await fleet.nodes('r1')).join() === 'away@victim,back@victim',
  );
  const killed = once(victim.child, 'exit');
  victim.child.kill('SIGKILL');
  await killed;
  // Nobody holds it: it waits for the node.
  await sendDown(fleet.get('r1'), 'back', { resource: 'app/x', content: 1, wait: 'queued' });
  const socket = await fleet.connect('back', 'r1', back);
  await eventually('it gets its message', () => socket.received.length === 1);
  socket.acknowledge(socket.received[0]!);
  await eventually(
    'the other is free',
    async () => (await failure(fleet.get('r1').admin.get('/api/v1/nodes/away'))) === 'NODE_NOT_FOUND',
  );
  // Ten seconds on a machine that has nothing else to do; this one may.
  expect(REPLICA_TIMES.deadMs + 2 * REPLICA_TIMES.heartbeatMs).toBeLessThan(10_000);
  expect((await fleet.list('r1')).unanswered).toEqual([]);
  const message = { resource: 'app/x', content: 1, wait: 'ack' } as const;
  expect(await failure(sendDown(fleet.get('r1'), 'away', message))).toBe('NODE_OFFLINE');
});

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: AdminError) => error.code,
  );

test('J3: a call that got no answer from one replica is repeated at another under its id, and sends one message', async () => {
  await using fleet = await start('r1', 'r2');
  const message = { resource: 'app/x', content: 1, id: 'order-17' };
  const queued = { kind: 'queued', msgId: 'order-17' };
  for (const replica of ['r1', 'r2', 'r1'])
    expect(await sendDown(fleet.get(replica), 'edge-1', message)).toEqual(queued);
  await sendDown(fleet.get('r2'), 'edge-1', { resource: 'app/last', content: 2 });
  const edge = await fleet.connect('edge-1', 'r1', await fleet.credentials('edge-1', 'r1'));
  await eventually('all have arrived', () =>
    edge.received.some(({ route }) => route.resource === 'app/last'),
  );
  const ids = edge.received
    .filter(({ route }) => route.resource === 'app/x')
    .map(({ header }) => header.msg_id);
  expect(ids).toEqual(['order-17']);
  await eventually('r2 knows where it is', async () => (await fleet.nodes('r2')).join() === 'edge-1@r1');
  const again = await sendDown(fleet.get('r2'), 'edge-1', { ...message, wait: 'ack' });
  expect(again).toEqual({ kind: 'dropped', reason: 'duplicate', msgId: 'order-17' });
});

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
  await eventually('it is whole again', async () => (await fleet.list('r1')).unanswered.length === 0);
  expect(late.socket.readyState).toBe(late.socket.OPEN);
  expect(await fleet.nodes('r1')).toEqual(['edge-1@r1']);
});
