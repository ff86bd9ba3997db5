import { expect, test } from 'vitest';
import { seededRandom } from '../chaos/seeded-random.ts';
import { startRelayRig } from '../support/cloudcore/relay-rig.ts';
import { advanceUntil } from '../support/while-advancing.ts';

const NODES = 8;
const MINUTES = 10;
const seed = Number(process.env.CHAOS_SEED ?? Date.now() % 1_000_000);

/**
 * Ten minutes of the injected clock. One CloudCore at a time is killed or frozen, gateways are killed and
 * replaced. A question that loses its gateway is asked again by the edge, as kubelet does; every other one
 * has to be answered by the relay, once.
 */
test('U2, U5: three CloudCores and two gateways, killed and frozen for ten minutes: every question is answered once', async () => {
  const random = seededRandom(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  await using it = await startRelayRig({ cloudcores: 3 });
  it.fronts.push(await it.startFront());
  const edges = await Promise.all(Array.from({ length: NODES }, (_, n) => it.edge(`e-${n}`)));
  const sum = (name: keyof (typeof edges)[number]['counts']) =>
    edges.reduce((total, { counts }) => total + counts[name], 0);
  const done = { killed: 0, frozen: 0, gateways: 0 };
  let heal: { readonly at: number; readonly run: () => Promise<void> } | undefined;

  for (let second = 0; second < MINUTES * 60; second++) {
    for (const edge of edges)
      if (edge.isOpen && random() < 0.3) void edge.ask('query', `kube-node-lease/lease/${edge.node}`);
    if (heal && second >= heal.at) {
      await heal.run();
      heal = undefined;
    }
    if (!heal && random() < 0.05) {
      const ill = pick(it.cloudcores);
      if (random() < 0.5) {
        done.killed++;
        await ill.kill();
        heal = { at: second + 5 + Math.floor(random() * 20), run: async () => void (await ill.start()) };
      } else {
        done.frozen++;
        ill.freeze();
        heal = { at: second + 45, run: async () => ill.freeze(false) };
      }
    }
    if (random() < 0.01) {
      done.gateways++;
      const [victim] = it.fronts.splice(Math.floor(random() * 2), 1);
      await victim!.kill();
      it.fronts.push(await it.startFront());
    }
    await it.clock.advance(1_000);
  }
  await heal?.run();
  const open = () => sum('asked') - sum('answered') - sum('unanswered');
  await advanceUntil(it.clock, () => open() === 0, 1_000);
  const counts = {
    CHAOS_SEED: seed,
    asked: sum('asked'),
    answered: sum('answered'),
    cut: sum('cut'),
    ...done,
  };
  console.log(JSON.stringify(counts));
  expect(done.killed + done.frozen).toBeGreaterThan(3);
  expect(sum('asked')).toBeGreaterThan(500);
  expect({ unanswered: sum('unanswered'), twice: sum('twice') }).toEqual({ unanswered: 0, twice: 0 });
});
