import { expect, test } from 'vitest';
import { seededRandom } from '../chaos/seeded-random.ts';
import { SIZES } from '../siege/attacks.ts';
import { runKills } from '../siege/kills.ts';
import { keepTable, runSiege, siegeTable } from '../siege/run-siege.ts';

const say = (text: string) => console.log(text);

test('N1, N2, N4, N6: one attack after another on a gateway with a heap of 512 MiB: good clients lose no message and no session, and probes are answered', {
  timeout: 900_000,
}, async () => {
  const { rows, faults } = await runSiege({ size: SIZES.story, say });
  const table = siegeTable(rows);
  console.log(table);
  keepTable(table);
  expect(faults).toEqual([]);
});

test('A1, G7: killed at random moments of rotate, issue, revoke and rollover, a gateway starts again with what it said it had done', {
  timeout: 900_000,
}, async () => {
  const seed = Number(process.env.SIEGE_SEED ?? Math.floor(Math.random() * 2 ** 31));
  say(`seed ${seed}`);
  const reports = await runKills({ kills: 2, random: seededRandom(seed), say });
  console.table(reports);
  expect(reports.flatMap(({ faults }) => faults)).toEqual([]);
});
