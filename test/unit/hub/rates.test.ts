import { expect, test } from 'vitest';
import { settle } from '../../fakes/manual-clock.ts';
import { startTestHub } from '../../support/fleets/hub.ts';

const RATE = { messages: 10, bytes: 1_000, burstMs: 2_000 };

test('N2: a node has what it saved up at once, then each message waits for its share, by the clock', async () => {
  await using gate = await startTestHub({ rate: RATE });
  const edge = gate.connect('edge-1');
  const arrive = (bytes: number) => edge.handler!.onArrival(bytes);
  for (let n = 0; n < 20; n++) expect(arrive(1)).toBeUndefined();
  const order: number[] = [];
  for (let n = 0; n < 3; n++) {
    const wait = arrive(1)!.then(() => order.push(n));
    await gate.clock.advance(99);
    expect(order).toHaveLength(n);
    await gate.clock.advance(1);
    await wait;
    expect(order).toHaveLength(n + 1);
  }
  expect(await gate.metric('upstream_held_back_seconds_total', { limit: 'messages' })).toBeCloseTo(0.3);
  expect(gate.hub.get('edge-1')).toMatchObject({ heldBackMs: 300 });
  await gate.clock.advance(2_000);
  for (let n = 0; n < 20; n++) expect(arrive(1)).toBeUndefined();
});

test('N2: bytes are counted as messages are, and other nodes are not held back', async () => {
  await using gate = await startTestHub({ rate: RATE });
  const [one, other] = [gate.connect('edge-1'), gate.connect('edge-2')];
  expect(one.handler!.onArrival(2_000)).toBeUndefined();
  let come = false;
  void one.handler!.onArrival(500)!.then(() => {
    come = true;
  });
  expect(other.handler!.onArrival(2_000)).toBeUndefined();
  await gate.clock.advance(499);
  expect(come).toBe(false);
  await gate.clock.advance(1);
  expect(come).toBe(true);
  expect(await gate.metric('upstream_held_back_seconds_total', { limit: 'bytes' })).toBeCloseTo(0.5);
  expect(gate.hub.get('edge-2')).not.toHaveProperty('heldBackMs');
});

test('N2: who connects again, or takes over its own session, gets no new budget; N5: it is forgotten once it is full', async () => {
  await using gate = await startTestHub({ rate: RATE });
  const first = gate.connect('edge-1');
  expect(first.handler!.onArrival(2_000)).toBeUndefined();
  const second = gate.connect('edge-1');
  expect(second.handler!.onArrival(1)).toBeInstanceOf(Promise);
  second.vanish();
  const third = gate.connect('edge-1');
  expect(third.handler!.onArrival(1)).toBeInstanceOf(Promise);
  third.vanish();
  await gate.clock.advance(5_000);
  expect(gate.connect('edge-1').handler!.onArrival(2_000)).toBeUndefined();
});

test('N2: new limits hold from the next message on', async () => {
  await using gate = await startTestHub({ rate: RATE });
  const edge = gate.connect('edge-1');
  expect(edge.handler!.onArrival(2_001)).toBeInstanceOf(Promise);
  gate.configure({ rate: { messages: 1_000, bytes: 1_000_000, burstMs: 10_000 } });
  expect(edge.handler!.onArrival(10_000)).toBeUndefined();
});

test('N2: one node has 256 messages in a turn of the event loop, then others come first', async () => {
  await using gate = await startTestHub();
  const [one, other] = [gate.connect('edge-1'), gate.connect('edge-2')];
  for (let n = 0; n < 256; n++) expect(one.handler!.onArrival(1)).toBeUndefined();
  const next = one.handler!.onArrival(1);
  expect(next).toBeInstanceOf(Promise);
  expect(other.handler!.onArrival(1)).toBeUndefined();
  await next;
  expect(one.handler!.onArrival(1)).toBeUndefined();
  expect(gate.hub.get('edge-1')).not.toHaveProperty('heldBackMs');
  await settle();
});

test('N4: a wall clock that jumps neither gives nor takes of a budget', async () => {
  await using gate = await startTestHub({ rate: RATE });
  const edge = gate.connect('edge-1');
  expect(edge.handler!.onArrival(2_000)).toBeUndefined();
  gate.clock.jump(86_400_000);
  expect(edge.handler!.onArrival(100)).toBeInstanceOf(Promise);
  gate.clock.jump(-2 * 86_400_000);
  await gate.clock.advance(100);
  expect(edge.handler!.onArrival(100)).toBeInstanceOf(Promise);
});
