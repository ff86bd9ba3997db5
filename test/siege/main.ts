import { parseArgs } from 'node:util';
import { ATTACKS, SIZES } from './attacks.ts';
import { runSiege, siegeTable } from './run-siege.ts';

const { values } = parseArgs({
  options: { size: { type: 'string', default: 'long' }, only: { type: 'string' } },
});
const began = Date.now();
const say = (text: string) => console.log(`${Math.round((Date.now() - began) / 1000)} s  ${text}`);
const attacks = ATTACKS.filter(({ name }) => name.includes(values.only ?? ''));
const { rows, faults } = await runSiege({ size: SIZES[values.size as keyof typeof SIZES], attacks, say });
console.log(siegeTable(rows));
for (const fault of faults) console.log(fault);
process.exit(faults.length === 0 ? 0 : 1);
