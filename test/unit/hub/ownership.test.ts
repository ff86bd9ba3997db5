import { expect, test } from 'vitest';
import { settle } from '../../fakes/manual-clock.ts';
import { otherOwner, SlowOwnership } from '../../fakes/slow-ownership.ts';
import { objectMessage } from '../../support/edges/messages.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestHub } from '../../support/fleets/hub.ts';

const UP = { source: 'app', group: 'user', operation: 'update', resource: 'app/y' };

async function slowHub() {
  const ownership = new SlowOwnership();
  const gate = await startTestHub({ ownership });
  const queue = (name: string) =>
    gate.hub.send({ node: 'edge-1', message: objectMessage(name, 1), wait: 'queued' });
  return { gate, ownership, queue };
}

test('nothing is delivered before the node is ours, and the world is told before anything the edge says', async () => {
  const { gate, ownership, queue } = await slowHub();
  await using hub = gate;
  const edge = hub.connect('edge-1');
  await queue('a');
  edge.says(UP, 'early');
  await settle();
  expect(edge.sent).toEqual([]);
  expect(hub.events).toEqual([]);
  expect(ownership.claims[0]!.request).toMatchObject({ node: 'edge-1', transport: 'websocket' });
  ownership.claims[0]!.holder.held(5);
  await eventually(
    'edge.sent.length === 1 && hub.events.length === 2',
    () => edge.sent.length === 1 && hub.events.length === 2,
  );
  expect(hub.events.map(({ event }) => event.type)).toEqual(['connected', 'message']);
  expect(hub.events[0]!.event).toMatchObject({ epoch: 5, sessionId: ownership.claims[0]!.request.sessionId });
});

test('a node taken from another replica: the end of that session is told first, and the take-over is counted', async () => {
  const { gate, ownership } = await slowHub();
  await using hub = gate;
  hub.connect('edge-1');
  const { holder } = ownership.claims[0]!;
  holder.took(otherOwner, 1);
  holder.held(8);
  expect(hub.events.map(({ event }) => event)).toMatchObject([
    { type: 'disconnected', sessionId: 'their-session', transport: 'quic', epoch: 7, reason: 'TakenOver' },
    { type: 'connected', epoch: 8 },
  ]);
  expect(await hub.metric('session_takeovers_total')).toBe(1);
  expect(await hub.metric('session_flapping_total')).toBe(0);
});

test('G4: a node that keeps changing between replicas is reported as flapping', async () => {
  const { gate, ownership } = await slowHub();
  await using hub = gate;
  hub.connect('edge-1');
  ownership.claims[0]!.holder.took(otherOwner, 6);
  expect(await hub.metric('session_flapping_total')).toBe(1);
});

test('without a bus nothing is delivered: what is under way goes back, the connection stays, and it goes on later', async () => {
  const { gate, ownership, queue } = await slowHub();
  await using hub = gate;
  const edge = hub.connect('edge-1');
  const { holder } = ownership.claims[0]!;
  holder.held(5);
  await queue('a');
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  holder.suspended();
  await queue('b');
  await hub.clock.advance(20_000);
  expect(edge.sent).toHaveLength(1);
  expect(edge.closedWith).toBeUndefined();
  expect(hub.hub.get('edge-1')!.unacknowledged).toBe(0);
  holder.held(5);
  await eventually('edge.sent.length === 3', () => edge.sent.length === 3);
  expect(edge.sent.map(({ content }) => content)).toEqual(['a@1', 'a@1', 'b@1']);
  expect(hub.events.filter(({ event }) => event.type === 'connected')).toHaveLength(1);
});

test('a provisional session is kept alive, and ends in silence', async () => {
  const { gate, ownership } = await slowHub();
  await using hub = gate;
  const edge = hub.connect('edge-1');
  ownership.claims[0]!.holder.suspended();
  edge.keepalive();
  await settle();
  edge.vanish();
  expect(hub.events).toEqual([]);
  expect(ownership.claims[0]!.released).toBe(true);
});

test('a session whose node moved elsewhere is closed as taken over, and says nothing about the node', async () => {
  const { gate, ownership } = await slowHub();
  await using hub = gate;
  const edge = hub.connect('edge-1');
  const { holder } = ownership.claims[0]!;
  holder.held(5);
  holder.lost(otherOwner);
  expect(edge.closedWith?.name).toBe('TakenOver');
  expect(hub.hub.list()).toEqual([]);
  expect(hub.events.map(({ event }) => event.type)).toEqual(['connected']);
  expect(await hub.metric('sessions_ended_total', { reason: 'TakenOver' })).toBe(1);
});

test('a claim that had to be made anew is told with its new epoch', async () => {
  const { gate, ownership } = await slowHub();
  await using hub = gate;
  hub.connect('edge-1');
  const { holder } = ownership.claims[0]!;
  holder.held(5);
  holder.held(9);
  expect(hub.events.map(({ event }) => event)).toMatchObject([{ epoch: 5 }, { type: 'connected', epoch: 9 }]);
});

test('D11: a node counts as connected when another replica has it', async () => {
  const { gate, ownership } = await slowHub();
  await using hub = gate;
  expect(await hub.hub.isConnectedAnywhere('edge-1')).toBe(false);
  ownership.elsewhere = otherOwner;
  expect(await hub.hub.isConnectedAnywhere('edge-1')).toBe(true);
  expect(hub.hub.isConnected('edge-1')).toBe(false);
});
