import { expect, test } from 'vitest';
import { isSallyportError } from '../../src/core/errors.ts';
import { SimulatedFleet } from '../support/fleets/year/simulated-fleet.ts';
import { DAY_MS } from '../support/fleets/year/simulated-replica.ts';

const NODES = Number(process.env.STORY_YEAR_NODES ?? 200);
const SEED = Number(process.env.STORY_YEAR_SEED ?? 1);
/** Days of the year. */
const REVOKED = 60;
const PREPARED = 100;
const ACTIVATED = 107;
const OUTAGES = [
  { from: 130, to: 130.5 },
  { from: 180, to: 183 },
];

test('C1, C4, F1, G7, B4: a year of a fleet: hub renewals, a CA rollover, two outages of the API, a revoked node; nobody is locked out whom the policy keeps', async () => {
  await using fleet = await SimulatedFleet.start({ nodes: NODES, seed: SEED });
  const [one, two] = fleet.replicas as [(typeof fleet.replicas)[0], (typeof fleet.replicas)[0]];
  const hubSerials = new Set<string>();
  const steps: string[] = [];
  const refusals: string[] = [];
  const firstCa = one.certificates.current().ca.sha256;
  const thief = fleet.nodes.find(({ name }) => name.startsWith('always-there'))!;

  /** An administrator who tries once a day and never forces anything. */
  const tryStep = async (step: 'prepare' | 'activate' | 'retire' | 'revoke') => {
    try {
      await fleet.during(two.rollover.step({ step, by: 'simulation' }));
      steps.push(`${step} on day ${Math.floor(fleet.day)}`);
    } catch (error) {
      if (!isSallyportError(error, 'ROLLOVER_BLOCKED', 'SECRET_STORE_UNAVAILABLE')) throw error;
      refusals.push(`${step}, day ${Math.floor(fleet.day)}: ${error.message}`);
    }
  };
  const plan = ['prepare', 'activate', 'retire', 'revoke'] as const;
  const earliest = { prepare: PREPARED, activate: ACTIVATED, retire: ACTIVATED + 1, revoke: ACTIVATED + 2 };

  while (fleet.day < 365) {
    const before = Math.floor(fleet.day);
    fleet.outage = OUTAGES.some(({ from, to }) => fleet.day >= from && fleet.day < to);
    await fleet.step();
    for (const { certificates } of fleet.replicas) {
      const { server } = certificates.current();
      hubSerials.add(server.serial);
      expect(server.notAfter.getTime(), 'the hub certificate is valid').toBeGreaterThan(fleet.clock.now());
    }
    if (Math.floor(fleet.day) === before) continue;
    if (before === REVOKED)
      await fleet.during(
        one.revocations.revoke({ target: { node: thief.name }, reason: 'keyCompromise', by: 'simulation' }),
      );
    const next = plan[steps.length];
    if (next && fleet.day >= earliest[next]) await tryStep(next);
  }

  const forecast = Object.groupBy(one.history.forecast(), ({ verdict }) => verdict);
  const summary = {
    nodes: fleet.nodes.length,
    'hub certificates': hubSerials.size,
    rollover: steps.join(', '),
    'steps refused for the sake of nodes': refusals.length,
    'last refusal': refusals.at(-1),
    ...Object.fromEntries(fleet.outcomes),
    'thrown out of a session': fleet.thrownOut.length,
    forecast: Object.entries(forecast)
      .map(([verdict, nodes]) => `${nodes!.length} ${verdict}`)
      .join(', '),
  };
  process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`);

  expect(fleet.nodes.flatMap(({ name, trouble }) => (trouble ? [`${name}: ${trouble}`] : []))).toEqual([]);
  expect(fleet.count('locked out')).toBe(0);
  expect(fleet.thrownOut).toEqual([]);
  // The year really held what it was to hold.
  expect(fleet.nodes.every(({ hasJoined }) => hasJoined)).toBe(true);
  expect(hubSerials.size).toBeGreaterThanOrEqual(365 / 60);
  expect(steps).toHaveLength(plan.length);
  expect(refusals.length).toBeGreaterThan(0);
  expect(one.certificates.current().ca.sha256).not.toBe(firstCa);
  expect(two.certificates.current().clientCAs.map(({ sha256 }) => sha256)).not.toContain(firstCa);
  expect(fleet.count('renewed')).toBeGreaterThan(NODES);
  for (const outcome of ['renewed in grace', 'late', 'revoked'] as const)
    expect(fleet.count(outcome), outcome).toBeGreaterThan(0);
  // Its CA has gone meanwhile: it is refused for one reason or the other.
  for (const replica of fleet.replicas) expect(thief.verdict(replica).ok).toBe(false);
  expect(fleet.clock.now() - fleet.startedAt).toBeGreaterThanOrEqual(365 * DAY_MS);
});
