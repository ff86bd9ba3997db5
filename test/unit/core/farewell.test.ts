import { expect, test } from 'vitest';
import { farewell } from '../../../src/core/farewell.ts';
import { Lifecycle } from '../../../src/core/lifecycle.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const never = new Promise<never>(() => {});

test('the last write of a component that stops gets two seconds, and no more', async () => {
  const clock = new ManualClock();
  let over = false;
  const waiting = farewell(clock, never).then(() => {
    over = true;
  });
  await clock.advance(1_999);
  expect(over).toBe(false);
  await clock.advance(1);
  await waiting;
});

test('a store that does not answer uses up the time of a stop, and does not fail it', async () => {
  const clock = new ManualClock();
  const component = {
    name: 'revocations',
    start: async () => {},
    stop: (signal: AbortSignal) => farewell(clock, never, signal),
  };
  const lifecycle = new Lifecycle([component], clock);
  await lifecycle.start({ stopTimeoutMs: 1_000 });
  const stopped = lifecycle.stop({ timeoutMs: 1_000 });
  await clock.advance(1_000);
  await stopped;
});

test('what comes after the deadline of a stop does not wait at all', async () => {
  await farewell(new ManualClock(), never, AbortSignal.abort());
});
