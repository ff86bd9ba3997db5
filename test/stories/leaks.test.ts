import { expect, test } from 'vitest';
import { leaksOf, runLeaks } from '../siege/leaks.ts';
import { scaled } from '../support/scale.ts';

/** `npm run siege` makes 100,000 connects of 10,000 nodes. */
const SIZE = { connects: scaled(700, 200), nodes: 100, rotations: scaled(20, 5), rounds: 4 };

test(`N5: after ${SIZE.rounds} rounds of ${SIZE.connects} connects and ${SIZE.rotations} rotations heap, resources, timers, sessions and sockets are where they were`, {
  timeout: 900_000,
}, async () => {
  const report = await runLeaks({ ...SIZE, say: (text) => console.log(text) });
  expect(leaksOf(report, SIZE)).toEqual([]);
});
