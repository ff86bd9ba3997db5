import { writeFileSync } from 'node:fs';
import { ATTACKS, type Attack, type Size } from './attacks.ts';
import { BesiegedGateway } from './besieged-gateway.ts';
import { GoodClients, type Noticed } from './good-clients.ts';

export interface SiegeRow extends Noticed {
  readonly attack: string;
  readonly saw: string;
}

export interface SiegeReport {
  readonly rows: readonly SiegeRow[];
  /** What must not be, in words; empty when the gateway stood. */
  readonly faults: readonly string[];
}

export interface SiegeOptions {
  readonly size: Size;
  readonly attacks?: readonly Attack[];
  readonly say?: (text: string) => void;
}

/** One gateway under one attack after the other, while good clients use it; then what they noticed. */
export async function runSiege({
  size,
  attacks = ATTACKS,
  say = () => {},
}: SiegeOptions): Promise<SiegeReport> {
  await using gateway = await BesiegedGateway.start();
  await using good = await GoodClients.start(gateway);
  const rows: SiegeRow[] = [];
  const faults: string[] = [];
  for (const { name, run, bounds = {}, turnsAway } of attacks) {
    const noticed = await good.during(() =>
      run(gateway, size).catch((error: Error) => `FAILED: ${error.message}`),
    );
    const row = { attack: name, ...noticed };
    rows.push(row);
    say(`${name}: ${row.saw}`);
    if (/^failed/i.test(row.saw)) faults.push(`${name}: ${row.saw}`);
    for (const what of ['unanswered', 'turnedAway', 'lost', 'ended'] as const)
      if (row[what] !== 0 && !(what === 'turnedAway' && turnsAway))
        faults.push(`${name}: ${what} is ${row[what]}`);
    for (const [what, limit] of Object.entries(bounds))
      if (row[what as keyof Noticed] > limit) faults.push(`${name}: ${what} is over ${limit}`);
    if (!gateway.isAlive) {
      faults.push(`${name}: the gateway has ended: ${gateway.process.log().slice(-2_000)}`);
      break;
    }
  }
  if (faults.length > 0) say(gateway.process.log().slice(-3_000));
  return { rows, faults };
}

const COLUMNS: readonly (readonly [head: string, of: (row: SiegeRow) => string | number])[] = [
  ['attack', ({ attack }) => attack],
  ['probe p50/p99', ({ probeP50, probeP99 }) => `${probeP50}/${probeP99}`],
  ['connect p50/p99', ({ connectP50, connectP99 }) => `${connectP50}/${connectP99}`],
  ['message p50/p99', ({ messageP50, messageP99 }) => `${messageP50}/${messageP99}`],
  ['CPU', ({ messageCpu }) => messageCpu],
  ['unanswered', ({ unanswered }) => unanswered],
  ['turned away', ({ turnedAway }) => turnedAway],
  ['lost', ({ lost }) => lost],
  ['ended', ({ ended }) => ended],
  ['the attacker saw', ({ saw }) => saw],
];

/** Columns of text; times in milliseconds. */
export function siegeTable(rows: readonly SiegeRow[]): string {
  const lines = [
    COLUMNS.map(([head]) => head),
    ...rows.map((row) => COLUMNS.map(([, of]) => String(of(row)))),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Where `.ci/run` wants to find what it prints in its summary. */
export function keepTable(table: string, file = process.env.SIEGE_TABLE): void {
  if (file) writeFileSync(file, `What good clients noticed of each attack, milliseconds:\n${table}\n`);
}
