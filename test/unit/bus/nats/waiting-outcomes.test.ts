import { expect, test } from 'vitest';
import { WaitingOutcomes } from '../../../../src/bus/nats/waiting-outcomes.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { itemFor, metric, objectMessage } from '../../../support/edges/messages.ts';

function make(limit = 10) {
  const [clock, metrics] = [new ManualClock(), createMetrics({ process: false })];
  return { clock, metrics, outcomes: new WaitingOutcomes({ clock, metrics }, { limit }) };
}
const item = (name: string, version = 1) => itemFor('edge-1', objectMessage(name, version));

test('a sender is told once what became of its message, and a second word finds nobody', async () => {
  const { outcomes, metrics } = make();
  const one = outcomes.open(item('a'), Number.POSITIVE_INFINITY);
  expect(await metric(metrics, 'bus_outcomes_waiting')).toBe(1);
  expect(outcomes.settle(one.id, { kind: 'acknowledged' })).toBe(true);
  expect(outcomes.settle(one.id, { kind: 'expired' })).toBe(false);
  expect(await one.outcome).toEqual({ kind: 'acknowledged' });
  expect(await metric(metrics, 'bus_outcomes_waiting')).toBe(0);
});

test('the newest message about an object is found, and not one that a newer replaced when that one is settled', () => {
  const { outcomes } = make();
  const first = outcomes.open(item('a', 1), Number.POSITIVE_INFINITY);
  const second = outcomes.open(item('a', 2), Number.POSITIVE_INFINITY);
  expect(outcomes.newestFor(item('a', 3))?.id).toBe(second.id);
  outcomes.settle(first.id, { kind: 'superseded' });
  expect(outcomes.newestFor(item('a', 3))?.id).toBe(second.id);
  outcomes.settle(second.id, { kind: 'acknowledged' });
  expect(outcomes.newestFor(item('a', 3))).toBeUndefined();
  expect(outcomes.newestFor(itemFor('edge-2', objectMessage('a', 3)))).toBeUndefined();
});

test('I13: beyond the limit the oldest stops waiting, and the others wait on', async () => {
  const { outcomes, metrics } = make(2);
  const [oldest, second, third] = ['a', 'b', 'c'].map((name) =>
    outcomes.open(item(name), Number.POSITIVE_INFINITY),
  );
  expect(await oldest!.outcome).toEqual({ kind: 'dropped', reason: 'outcome-unknown' });
  expect(await metric(metrics, 'bus_outcomes_waiting')).toBe(2);
  expect(outcomes.settle(second!.id, { kind: 'acknowledged' })).toBe(true);
  expect(outcomes.settle(third!.id, { kind: 'acknowledged' })).toBe(true);
});

test('what nobody tells is expired at its time, not before; a stop ends all waiting', async () => {
  const { outcomes, clock } = make();
  const early = outcomes.open(item('a'), clock.monotonic() + 1_000);
  const late = outcomes.open(item('b'), clock.monotonic() + 2_000);
  await clock.advance(999);
  outcomes.expire();
  expect(outcomes.newestFor(item('a'))).toBe(early);
  await clock.advance(1);
  outcomes.expire();
  expect(await early.outcome).toEqual({ kind: 'expired' });
  expect(outcomes.newestFor(item('b'))).toBe(late);
  outcomes.stop();
  expect(await late.outcome).toEqual({ kind: 'dropped', reason: 'outcome-unknown' });
});

test('when the stream is another one, no place in the old one is remembered', () => {
  const { outcomes } = make();
  const one = outcomes.open(item('a'), Number.POSITIVE_INFINITY);
  one.seq = 7;
  outcomes.forgetSequences();
  expect(one.seq).toBeUndefined();
});
