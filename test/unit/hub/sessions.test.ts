import { describe, expect, test } from 'vitest';
import type { EdgeConnection } from '../../../src/contracts/edge-connection.ts';
import type { KeyExchange } from '../../../src/core/tls-groups.ts';
import type { SessionEvent } from '../../../src/hub/session-event.ts';
import type { Refusal } from '../../../src/identity/node-identity.ts';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { FakeConnection, identityOf } from '../../fakes/fake-connection.ts';
import { settle } from '../../fakes/manual-clock.ts';
import { itemFor, objectMessage } from '../../support/edges/messages.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestHub } from '../../support/fleets/hub.ts';

const POD = { source: 'edged', group: 'resource', operation: 'update', resource: 'default/podstatus/p-1' };

test('G2: a connection the hub refuses is closed at once and never heard', async () => {
  await using gate = await startTestHub({ nodeLimit: 1 });
  const living = gate.connect('edge-1');
  const refused = gate.connect('edge-2');
  expect(refused.closedWith?.name).toBe('TryAgainLater');
  expect(refused.handler).toBeUndefined();
  const nameless = gate.connect(identityOf('not a node'));
  expect(nameless.closedWith?.name).toBe('NodeMismatch');
  expect(nameless.handler).toBeUndefined();
  expect(living.closedWith).toBeUndefined();
  expect(gate.hub.list().map(({ node }) => node)).toEqual(['edge-1']);
});

test('tells that a node is connected before anything it says, and that it left before its successor comes', async () => {
  await using gate = await startTestHub();
  const eager = new FakeConnection('edge-1');
  eager.receive = (handler) => {
    eager.handler = handler;
    eager.says(POD);
  };
  gate.hub.accept(eager);
  gate.connect('edge-1');
  expect(gate.events.map(({ event }) => event.type)).toEqual([
    'connected',
    'message',
    'disconnected',
    'connected',
  ]);
});

test('L6: sessions are counted by the group their keys were agreed on with, and counted off as they end', async () => {
  await using gate = await startTestHub();
  const connect = (node: string, keyExchange?: KeyExchange) => {
    const connection: EdgeConnection = Object.assign(new FakeConnection(node), { keyExchange });
    gate.hub.accept(connection);
  };
  const pure: KeyExchange = { group: 'X25519MLKEM768', postQuantum: true };
  connect('edge-1', { group: 'X25519', postQuantum: false });
  connect('edge-2', pure);
  connect('edge-3');
  expect(await gate.metric('sessions', { group: 'X25519', post_quantum: 'no' })).toBe(1);
  expect(await gate.metric('sessions', { group: 'X25519MLKEM768', post_quantum: 'yes' })).toBe(1);
  expect(await gate.metric('sessions', { group: 'unknown', post_quantum: 'unknown' })).toBe(1);
  expect(gate.hub.list().map(({ keyExchange }) => keyExchange?.group)).toEqual([
    'X25519',
    'X25519MLKEM768',
    undefined,
  ]);
  // The same node, with better software.
  connect('edge-1', pure);
  gate.hub.disconnect('edge-3', closeReason('Normal'));
  expect(await gate.metric('sessions', { post_quantum: 'no' })).toBe(0);
  expect(await gate.metric('sessions', { post_quantum: 'unknown' })).toBe(0);
  expect(await gate.metric('sessions', { post_quantum: 'yes' })).toBe(2);
});

test('a connection that is gone by the time it is accepted leaves nothing behind', async () => {
  await using gate = await startTestHub();
  const gone = new FakeConnection('edge-1');
  gone.receive = (handler) => handler.onClose(undefined);
  gate.hub.accept(gone);
  expect(gate.hub.isConnected('edge-1')).toBe(false);
  expect(await gate.metric('sessions')).toBe(0);
  await gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'queued' });
  await settle();
  expect(gate.bus.backlog('edge-1').messages).toBe(1);
});

test('G2: a replaced connection can neither publish, acknowledge nor keep the session of its successor alive', async () => {
  await using gate = await startTestHub();
  const old = gate.connect('edge-1');
  const successor = gate.connect('edge-1');
  const result = gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'ack' });
  await eventually('successor.sent.length === 1', () => successor.sent.length === 1);
  old.acknowledge(successor.sent[0]!);
  old.says(POD);
  await gate.clock.advance(20_000);
  old.keepalive();
  old.handler!.onAlive();
  await expect(Promise.race([result, Promise.resolve('still waiting')])).resolves.toBe('still waiting');
  expect(gate.events.filter(({ event }) => event.type === 'message')).toEqual([]);
  expect(await gate.metric('messages_dropped_total', { reason: 'session-ended' })).toBe(3);
  await gate.clock.advance(9_000);
  expect(gate.hub.isConnected('edge-1')).toBe(true);
  const failed = expect(result).rejects.toMatchObject({ code: 'NOT_ACKNOWLEDGED' });
  await gate.clock.advance(2_000);
  await failed;
  expect(successor.closedWith?.name).toBe('KeepaliveTimeout');
});

test('G3: many reconnects within 50 ms leave the last session, whatever the old sockets report later', async () => {
  await using gate = await startTestHub();
  const connections: FakeConnection[] = [];
  for (let attempt = 0; attempt < 20; attempt++) {
    connections.push(gate.connect('edge-1'));
    await gate.clock.advance(2);
  }
  const last = connections.pop()!;
  for (const old of connections) {
    expect(old.closedWith?.name).toBe('TakenOver');
    old.vanish();
  }
  await settle();
  expect(last.closedWith).toBeUndefined();
  const session = gate.hub.get('edge-1')!.sessionId;
  expect(gate.history().at(-1)).toBe(`connected ${session}`);
  expect(gate.history()).not.toContain(`disconnected ${session}`);
  expect(new Set(gate.history()).size).toBe(39);
  last.vanish();
  expect(gate.history().at(-1)).toBe(`disconnected ${session}`);
  expect(gate.hub.isConnected('edge-1')).toBe(false);
});

test('I12: 200 concurrent connects of one node leave one session', async () => {
  await using gate = await startTestHub();
  const connections = await Promise.all(
    Array.from({ length: 200 }, async () => {
      await settle(1 + Math.floor(Math.random() * 3));
      return gate.connect('edge-1');
    }),
  );
  expect(connections.filter(({ closedWith }) => closedWith === undefined)).toHaveLength(1);
  expect(gate.hub.list()).toHaveLength(1);
  expect(await gate.metric('sessions')).toBe(1);
  expect(await gate.metric('session_takeovers_total')).toBe(199);
});

test('I11: at the node limit a new node is told 503, and a node that has a session is let in', async () => {
  await using gate = await startTestHub({ nodeLimit: 2 });
  gate.connect('edge-1');
  gate.connect('edge-2');
  expect(gate.hub.admit(identityOf('edge-3'), 'websocket')).toMatchObject({ ok: false, status: 503 });
  expect(gate.hub.admit(identityOf('edge-1'), 'websocket')).toEqual({ ok: true });
  const again = gate.connect('edge-1');
  expect(again.closedWith).toBeUndefined();
  gate.hub.disconnect('edge-2', closeReason('Disconnected'));
  expect(gate.hub.admit(identityOf('edge-3'), 'websocket')).toEqual({ ok: true });
});

test('G4: two devices with one certificate are detected, counted and held off; then one of them works', async () => {
  await using gate = await startTestHub({ flapThreshold: 4, flapWindowMs: 60_000 });
  let [winner, loser] = [gate.connect('edge-1'), undefined as FakeConnection | undefined];
  let held = 0;
  for (let turn = 0; turn < 12; turn++) {
    await gate.clock.advance(2_000);
    winner.keepalive();
    const admission = gate.hub.admit(identityOf('edge-1'), 'websocket');
    if (admission.ok) {
      [loser, winner] = [winner, gate.connect('edge-1')];
      expect(loser.closedWith?.name).toBe('TakenOver');
    } else {
      held++;
      expect(admission).toMatchObject({ status: 429, close: { name: 'Flapping' } });
      expect(admission.retryAfterMs).toBeGreaterThan(0);
      const pushing = gate.connect('edge-1');
      expect(pushing.closedWith?.name).toBe('Flapping');
      expect(pushing.handler).toBeUndefined();
    }
  }
  expect(held).toBeGreaterThan(4);
  expect(winner.closedWith).toBeUndefined();
  expect(await gate.metric('session_flapping_total')).toBeGreaterThan(4);
});

test('G4: a held node whose present session is silent or gone is let in, so nobody is locked out', async () => {
  await using gate = await startTestHub({
    flapThreshold: 2,
    flapWindowMs: 3_600_000,
    keepaliveTimeoutMs: 30_000,
  });
  const refused = () => !gate.hub.admit(identityOf('edge-1'), 'websocket').ok;
  let present = gate.connect('edge-1');
  // Each waits out the hold, which doubles from 5 s on, and finds the other alive.
  for (const waits of [1, 1, 2, 3, 5]) {
    for (let wait = 0; wait < waits; wait++) {
      await gate.clock.advance(10_000);
      present.keepalive();
    }
    present = gate.connect('edge-1');
  }
  expect(refused()).toBe(true);
  await gate.clock.advance(16_000);
  expect(refused()).toBe(false);
  present.keepalive();
  expect(refused()).toBe(true);
  present.vanish();
  expect(refused()).toBe(false);
});

test('O5: two devices that swap as slowly as EdgeCore returns are detected and held off', async () => {
  await using gate = await startTestHub();
  let held = 0;
  let present = gate.connect('edge-1');
  // Each comes back 30 s after it lost its session, and a few seconds pass in the handshake.
  for (let turn = 0; turn < 16; turn++) {
    for (let beat = 0; beat < 3; beat++) {
      await gate.clock.advance(12_400);
      present.keepalive();
    }
    if (gate.hub.admit(identityOf('edge-1'), 'websocket').ok) present = gate.connect('edge-1');
    else held++;
  }
  expect(await gate.metric('session_flapping_total')).toBeGreaterThan(0);
  expect(held).toBeGreaterThan(0);
});

test('O5: a node that keeps coming back from connections that died is no second device', async () => {
  await using gate = await startTestHub();
  for (let turn = 0; turn < 16; turn++) {
    gate.connect('edge-1').keepalive();
    await gate.clock.advance(20_000);
    expect(gate.hub.admit(identityOf('edge-1'), 'websocket').ok).toBe(true);
  }
  expect(await gate.metric('session_flapping_total')).toBe(0);
});

test('I7: a silent session ends within the timeout and 5 s, and its socket is closed', async () => {
  await using gate = await startTestHub({ keepaliveTimeoutMs: 30_000 });
  const silent = gate.connect('edge-1');
  const lively = gate.connect('edge-2');
  await gate.clock.advance(29_000);
  expect(silent.closedWith).toBeUndefined();
  lively.handler!.onAlive();
  await gate.clock.advance(6_000);
  expect(silent.closedWith?.name).toBe('KeepaliveTimeout');
  expect(gate.hub.isConnected('edge-1')).toBe(false);
  expect(lively.closedWith).toBeUndefined();
  expect(await gate.metric('sessions_ended_total', { reason: 'KeepaliveTimeout' })).toBe(1);
});

test('I8: any frame counts as life', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  for (let turn = 0; turn < 10; turn++) {
    await gate.clock.advance(25_000);
    if (turn % 2 === 0) edge.says(POD);
    else edge.handler!.onAlive();
  }
  expect(edge.closedWith).toBeUndefined();
});

test('I8: an edge whose heartbeat is slower than the timeout is reported and then left alone', async () => {
  await using gate = await startTestHub({ keepaliveTimeoutMs: 30_000 });
  let edge = gate.connect('edge-1');
  let reconnects = 0;
  for (let second = 0; second < 600; second++) {
    if (edge.closedWith) {
      reconnects++;
      edge = gate.connect('edge-1');
    }
    if (second % 50 === 1) edge.keepalive();
    await gate.clock.advance(1_000);
  }
  expect(reconnects).toBe(1);
  expect(await gate.metric('slow_heartbeats_total')).toBe(1);
  expect(edge.closedWith).toBeUndefined();
  await gate.clock.advance(80_000);
  expect(edge.closedWith?.name).toBe('KeepaliveTimeout');
});

test('I7: a node that was regular before gets no extra time when it returns', async () => {
  await using gate = await startTestHub({ keepaliveTimeoutMs: 30_000 });
  const first = gate.connect('edge-1');
  for (let beat = 0; beat < 3; beat++) {
    first.keepalive();
    await gate.clock.advance(15_000);
  }
  await gate.clock.advance(31_000);
  expect(first.closedWith?.name).toBe('KeepaliveTimeout');
  const second = gate.connect('edge-1');
  await gate.clock.advance(32_000);
  expect(second.closedWith?.name).toBe('KeepaliveTimeout');
});

const refuse = (reason: Refusal['reason']): Refusal => ({ ok: false, reason, detail: 'test' });

test('G9: sessions of a retired CA end within the grace, not all at once, and none comes back', async () => {
  let turn = 0;
  await using gate = await startTestHub({
    expiryGraceMs: 10_000,
    random: () => (turn++ % 10) / 10,
    keepaliveTimeoutMs: 99_000,
  });
  const old = Array.from({ length: 10 }, (_, index) => gate.connect(`old-${index}`));
  const fresh = gate.connect('fresh');
  const check = ({ nodeName }: { nodeName: string }) =>
    nodeName.startsWith('old') ? refuse('unknown-ca') : undefined;
  expect(gate.hub.applyTrust(check)).toBe(10);
  const alive = () => old.filter(({ closedWith }) => closedWith === undefined).length;
  expect(alive()).toBe(10);
  await gate.clock.advance(5_000);
  expect(alive()).toBeGreaterThan(2);
  expect(alive()).toBeLessThan(8);
  await gate.clock.advance(6_000);
  expect(alive()).toBe(0);
  expect(old[3]!.closedWith?.name).toBe('TrustRemoved');
  expect(fresh.closedWith).toBeUndefined();
  expect(gate.connect('old-1').closedWith?.name).toBe('TrustRemoved');
});

test('G7: a revoked session ends in the same turn, its owner is told of, and it does not come back', async () => {
  await using gate = await startTestHub();
  const stolen = gate.connect('stolen');
  const other = gate.connect('other');
  const sessionId = gate.hub.get('stolen')!.sessionId;
  const told: SessionEvent[] = [];
  gate.hub.subscribe((event) => told.push(event));
  const check = ({ nodeName }: { nodeName: string }) =>
    nodeName === 'stolen' ? refuse('revoked') : undefined;
  expect(gate.hub.applyTrust(check)).toBe(1);
  expect([stolen.closedWith?.name, other.closedWith]).toEqual(['Revoked', undefined]);
  expect(told).toEqual([
    { type: 'ended', node: 'stolen' },
    {
      type: 'shut-out',
      peer: stolen.peer,
      sessionId,
      transport: stolen.transport,
      reason: closeReason('Revoked'),
    },
  ]);
  expect(gate.connect('stolen').closedWith?.name).toBe('Revoked');
  expect(told).toHaveLength(2);
  expect(gate.hub.identityOf('other')).toBe(other.peer);
});

test('G9: trust that returns within the grace keeps the sessions', async () => {
  await using gate = await startTestHub({ expiryGraceMs: 10_000 });
  const edge = gate.connect('edge-1');
  gate.hub.applyTrust(() => refuse('unknown-ca'));
  gate.hub.applyTrust(() => undefined);
  await gate.clock.advance(12_000);
  expect(edge.closedWith).toBeUndefined();
});

test('G7: a revoked node is ended at once, whatever the grace', async () => {
  await using gate = await startTestHub({ expiryGraceMs: 60_000 });
  const edge = gate.connect('edge-1');
  gate.hub.applyTrust(() => refuse('revoked'));
  expect(edge.closedWith?.name).toBe('Revoked');
});

test('G9: a session whose certificate expires ends within the grace', async () => {
  await using gate = await startTestHub({ expiryGraceMs: 10_000, keepaliveTimeoutMs: 99_000 });
  const edge = gate.connect(identityOf('edge-1', gate.clock.now() + 20_000));
  await gate.clock.advance(20_500);
  expect(edge.closedWith).toBeUndefined();
  await gate.clock.advance(11_000);
  expect(edge.closedWith?.name).toBe('CertificateExpired');
});

test('H3: draining closes sessions over the window with a hint, and lets nobody in', async () => {
  let turn = 0;
  await using gate = await startTestHub({ random: () => (turn++ % 10) / 10 });
  const edges = Array.from({ length: 10 }, (_, index) => gate.connect(`edge-${index}`));
  const drained = gate.hub.drain(5_000, new AbortController().signal);
  expect(gate.hub.admit(identityOf('edge-11'), 'quic')).toMatchObject({
    status: 503,
    close: { name: 'Draining' },
  });
  expect(gate.connect('edge-1').closedWith?.name).toBe('Draining');
  await gate.clock.advance(2_600);
  const closed = edges.filter(({ closedWith }) => closedWith !== undefined);
  expect(closed.length).toBeGreaterThan(3);
  expect(closed.length).toBeLessThan(8);
  await gate.clock.advance(3_000);
  await drained;
  expect(gate.hub.list()).toEqual([]);
  expect(new Set(edges.map(({ closedWith }) => closedWith?.reconnectAfterMs)).size).toBeGreaterThan(3);
  expect(edges.every(({ closedWith }) => closedWith!.reconnectAfterMs! >= 500)).toBe(true);
});

test('H3: outstanding acknowledgements are awaited up to 5 s, and nothing new is begun', async () => {
  await using gate = await startTestHub({ random: () => 0 });
  const [prompt, mute] = [gate.connect('edge-1'), gate.connect('edge-2')];
  const send = (node: string) =>
    gate.hub.send({ node, message: objectMessage('a', 1), wait: 'ack', timeoutMs: 60_000 });
  const results = [send('edge-1'), send('edge-2')] as const;
  void results[1].catch(() => {});
  await eventually(
    'prompt.sent.length === 1 && mute.sent.length === 1',
    () => prompt.sent.length === 1 && mute.sent.length === 1,
  );
  const drained = gate.hub.drain(0, new AbortController().signal);
  await gate.hub.send({ node: 'edge-1', message: objectMessage('late', 1), wait: 'queued' });
  await gate.clock.advance(1_000);
  expect(prompt.closedWith).toBeUndefined();
  prompt.acknowledge(prompt.sent[0]!);
  expect(await results[0]).toMatchObject({ kind: 'acknowledged' });
  await settle();
  expect(prompt.closedWith?.name).toBe('Draining');
  expect(prompt.resources).toEqual(['default/configmap/a']);
  expect(mute.closedWith).toBeUndefined();
  await gate.clock.advance(4_100);
  await drained;
  expect(mute.closedWith?.name).toBe('Draining');
  expect(gate.bus.backlog('edge-2').messages).toBe(1);
});

test('H3: the signal ends the patience', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  const abort = new AbortController();
  const drained = gate.hub.drain(3_600_000, abort.signal);
  abort.abort();
  await drained;
  expect(edge.closedWith?.name).toBe('Draining');
});

test('L3: tells who is here', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  edge.says(POD);
  void gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'queued' });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  await settle();
  expect(gate.hub.get('edge-1')).toMatchObject({
    node: 'edge-1',
    replica: 'test',
    transport: 'websocket',
    remoteAddress: '192.0.2.7',
    connectedSince: '2026-01-01T00:00:00.000Z',
    certificate: { serial: '01AB', issuer: 'CN=KubeEdge' },
    queued: 0,
    unacknowledged: 1,
    messagesReceived: 1,
    messagesSent: 1,
  });
  expect(gate.hub.get('nobody')).toBeUndefined();
  expect(gate.hub.disconnect('nobody', closeReason('Disconnected'))).toBe(false);
});

test('leaves no timer behind when it stops', async () => {
  const gate = await startTestHub();
  const edge = gate.connect('edge-1');
  await gate.hub.send({ node: 'edge-1', message: objectMessage('a', 1), wait: 'queued' });
  await eventually('edge.sent.length === 1', () => edge.sent.length === 1);
  await gate[Symbol.asyncDispose]();
  await settle();
  expect(gate.clock.pending).toBe(0);
  expect(edge.closedWith?.name).toBe('Draining');
});

describe('N4: the wall clock jumps', () => {
  const DAY = 86_400_000;
  test.each([
    ['a minute ahead', 60_000],
    ['twenty minutes back', -1_200_000],
    ['a day ahead', DAY],
  ])('%s: no session ends, and a silent one ends in its time', async (_, jump) => {
    await using gate = await startTestHub({ keepaliveTimeoutMs: 30_000 });
    const [lively, silent] = [gate.connect('edge-1'), gate.connect('edge-2')];
    await gate.clock.advance(20_000);
    gate.clock.jump(jump);
    lively.keepalive();
    await gate.clock.advance(5_000);
    expect([lively.closedWith, silent.closedWith]).toEqual([undefined, undefined]);
    await gate.clock.advance(10_000);
    expect(silent.closedWith?.name).toBe('KeepaliveTimeout');
    expect(lively.closedWith).toBeUndefined();
  });

  test('what is waiting for its node stays as long as it was promised', async () => {
    await using gate = await startTestHub();
    const { outcome } = await gate.bus.enqueue(itemFor('edge-1', objectMessage('a', 1)));
    let fate: unknown;
    void outcome.then((kind) => {
      fate = kind;
    });
    gate.clock.jump(30 * DAY);
    await gate.clock.advance(10_000);
    expect(fate).toBeUndefined();
  });

  test('a certificate ends by the wall clock, as it says', async () => {
    await using gate = await startTestHub({ expiryGraceMs: 0 });
    const connection = gate.connect('edge-1');
    gate.clock.jump(connection.peer.certificate.notAfter - gate.clock.now());
    for (let beat = 0; beat < 3; beat++) {
      connection.keepalive();
      await gate.clock.advance(10_000);
    }
    expect(connection.closedWith?.name).toBe('CertificateExpired');
  });
});

test('who subscribes hears of a session as it begins and ends, a takeover in this order, until it leaves', async () => {
  await using gate = await startTestHub();
  const told: string[] = [];
  const unsubscribe = gate.hub.subscribe((event) =>
    told.push(`${event.type} ${event.type === 'ended' ? event.node : event.peer.nodeName}`),
  );
  gate.connect('edge-1');
  gate.connect('edge-1');
  expect(told).toEqual(['begun edge-1', 'ended edge-1', 'begun edge-1']);
  unsubscribe();
  gate.connect('edge-2');
  expect(told).toHaveLength(3);
});
