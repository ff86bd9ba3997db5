/**
 * The long form: `npm run siege -- --minutes 30`. First kills and many connects, which take as long as they
 * take, then attacks again and again until the time is up. Prints what good clients noticed, and ends with 1
 * unless the gateway stood. A seed repeats the choices, not the timing.
 */
import { parseArgs } from 'node:util';
import { seededRandom } from '../chaos/seeded-random.ts';
import { ATTACKS, SIZES } from './attacks.ts';
import { runKills } from './kills.ts';
import { leaksOf, runLeaks } from './leaks.ts';
import { runSiege, siegeTable } from './run-siege.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: process.env.SIEGE_MINUTES ?? '30' },
    kills: { type: 'string', default: process.env.SIEGE_KILLS ?? '200' },
    connects: { type: 'string', default: process.env.SIEGE_CONNECTS ?? '100000' },
    seed: { type: 'string', default: process.env.SIEGE_SEED ?? String(Math.floor(Math.random() * 2 ** 31)) },
    size: { type: 'string', default: 'long' },
    only: { type: 'string', default: '' },
  },
});
const random = seededRandom(Number(values.seed));
const began = Date.now();
const say = (text: string) =>
  console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(5)} s  ${text}`);
say(`seed ${values.seed}`);
const faults: string[] = [];

const killed = await runKills({ kills: Math.ceil(Number(values.kills) / 4), random, say });
console.table(killed.map(({ faults: found, ...report }) => ({ ...report, faults: found.length })));
faults.push(...killed.flatMap((report) => report.faults));

const many = { connects: Number(values.connects) / 4, nodes: 10_000, rotations: 250, rounds: 4 };
faults.push(...leaksOf(await runLeaks({ ...many, say }), many));

const size = SIZES[values.size as keyof typeof SIZES];
const attacks = ATTACKS.filter(({ name }) => name.includes(values.only));
do {
  // In another order each time: what one leaves behind meets the next.
  const order = attacks.map((one) => ({ one, at: random() })).sort((a, b) => a.at - b.at);
  const report = await runSiege({ size, attacks: order.map(({ one }) => one), say });
  console.log(siegeTable(report.rows));
  faults.push(...report.faults);
} while (Date.now() - began < Number(values.minutes) * 60_000);
for (const fault of faults) console.log(fault);
console.log(faults.length === 0 ? 'the gateway stood' : `faults: ${faults.length}`);
process.exit(faults.length === 0 ? 0 : 1);
