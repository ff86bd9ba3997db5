import { expect, test } from 'vitest';
import { Turnstile } from '../../../src/fleet/turnstile.ts';
import { settle } from '../../fakes/manual-clock.ts';

/** The turn of the event loop ends when the test says so. */
function make(limit: number) {
  let waiting: (() => void)[] = [];
  const turnstile = new Turnstile(limit, (begin) => void waiting.push(begin));
  const begun: number[] = [];
  const done: (() => void)[] = [];
  return {
    begun,
    done,
    pass: (...numbers: number[]) =>
      numbers.map((number) =>
        turnstile.pass(() => {
          begun.push(number);
          return new Promise<number>((resolve) => done.push(() => resolve(number)));
        }),
      ),
    endTurn: async () => {
      const now = waiting;
      waiting = [];
      for (const begin of now) begin();
      await settle();
    },
  };
}

test('actions of one turn begin together at its end, as many as there are places; the others keep their order', async () => {
  const { pass, begun, done, endTurn } = make(2);
  const results = pass(1, 2, 3, 4);
  await settle();
  expect(begun).toEqual([]);
  await endTurn();
  expect(begun).toEqual([1, 2]);
  done[1]!();
  expect(await results[1]).toBe(2);
  await endTurn();
  expect(begun).toEqual([1, 2, 3]);
  done[0]!();
  done[2]!();
  await settle();
  await endTurn();
  expect(begun).toEqual([1, 2, 3, 4]);
});

test('an action that fails frees its place', async () => {
  const turnstile = new Turnstile(1, setImmediate);
  await expect(turnstile.pass(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await turnstile.pass(async () => 'next')).toBe('next');
});
