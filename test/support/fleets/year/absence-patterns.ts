import { DAY_MS, HOUR_MS } from './simulated-replica.ts';

/** How a node comes and goes. Times in milliseconds. */
export interface AbsencePattern {
  readonly name: string;
  /** Of 1,000 nodes. */
  readonly share: number;
  /** How long it stays this time. */
  stay(random: () => number): number;
  /** How long it is away this time. */
  away(random: () => number): number;
}

const about = (ms: number, random: () => number) => ms * (0.8 + 0.4 * random());
/** Mostly short, now and then long. */
const exponential = (meanMs: number, random: () => number) => -meanMs * Math.log(1 - random() * 0.999);

/** From the machine in a data centre to the harvester in its barn. */
export const PATTERNS: readonly AbsencePattern[] = [
  { name: 'always there', share: 550, stay: (r) => about(60 * DAY_MS, r), away: () => 2 * HOUR_MS },
  {
    name: 'switched off at night',
    share: 150,
    stay: (r) => about(10 * HOUR_MS, r),
    away: () => 14 * HOUR_MS,
  },
  { name: 'once a week', share: 120, stay: () => 6 * HOUR_MS, away: (r) => about(7 * DAY_MS, r) },
  { name: 'once a month', share: 80, stay: () => 6 * HOUR_MS, away: (r) => about(30 * DAY_MS, r) },
  {
    name: 'on the road',
    share: 60,
    stay: (r) => exponential(3 * DAY_MS, r),
    away: (r) => exponential(12 * DAY_MS, r),
  },
  { name: 'seasonal', share: 30, stay: (r) => about(100 * DAY_MS, r), away: (r) => about(90 * DAY_MS, r) },
  { name: 'in storage', share: 10, stay: (r) => about(20 * DAY_MS, r), away: (r) => about(200 * DAY_MS, r) },
];
