import { expect, test } from 'vitest';
import { FakeApi } from '../support/cloudcore/fake-api.ts';
import { FakeCloudCore } from '../support/cloudcore/fake-cloudcore.ts';
import { FakeEdgeCore } from '../support/cloudcore/fake-edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { mintCa, mintEdge, mintServer } from '../support/pki/pki.ts';
import { ChaosHub, wait } from './chaos-hub.ts';
import { seededRandom } from './seeded-random.ts';

/** `npm run chaos:relay` takes ten minutes. */
const SECONDS = Number(process.env.RELAY_CHAOS_SECONDS ?? 45);
const NODES = 24;
const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 1_000_000);
/** Longer than a gateway takes to notice that a CloudCore is frozen. */
const FREEZE_MS = 35_000;

/**
 * As in production: gateways are processes that are killed with SIGKILL, one of two at a time; CloudCores are
 * killed or frozen, one of three at a time; edges come through a balancer that chooses by chance. Real time
 * all through (stories/relay-chaos.test.ts is the same with an injected clock).
 */
test('U2, U5: three CloudCores and two gateways on NATS, killed by chance: every question is answered once', async () => {
  const random = seededRandom(SEED);
  const pick = (count: number) => Math.floor(random() * count);
  await using stack = new AsyncDisposableStack();
  const ca = await mintCa();
  const parts = { ca, server: await mintServer(ca), api: new FakeApi(), authorization: true };
  const cloudcores = await Promise.all(
    Array.from({ length: 3 }, async () => stack.use(await new FakeCloudCore(parts).start())),
  );
  const upstream = {
    'upstream.kind': 'cloudcore',
    'upstream.addresses': cloudcores.map(({ address }) => address).join(),
  };
  const hub = stack.use(
    await ChaosHub.start({ replicas: 2, natsServers: 1, random, ca, settings: upstream }),
  );
  const port = () => Number(hub.addresses.websocket!.split(':')[1]);
  const edges = await Promise.all(
    Array.from({ length: NODES }, async (_, n) => {
      const { pem: cert, key } = await mintEdge(ca, `e-${n}`);
      const credentials = { ca: ca.pem, cert, key };
      const edge = new FakeEdgeCore({ node: `e-${n}`, port, credentials, returnMs: 5_000 });
      return stack.use(await edge.start());
    }),
  );
  const sum = (name: keyof FakeEdgeCore['counts']) =>
    edges.reduce((total, { counts }) => total + counts[name], 0);
  const done = { killed: 0, frozen: 0, gateways: 0 };
  const end = Date.now() + SECONDS * 1_000;
  const isOver = () => Date.now() >= end;
  /** Nobody stays ill longer than the test takes. */
  const pause = (ms: number) => wait(Math.max(0, Math.min(ms, end - Date.now())));

  const asking = async () => {
    while (!isOver()) {
      for (const edge of edges)
        if (edge.isOpen && random() < 0.3) void edge.ask('query', `kube-node-lease/lease/${edge.node}`);
      await wait(1_000);
    }
  };
  const makingIll = async () => {
    while (!isOver()) {
      await pause(2_000 + random() * 8_000);
      if (isOver()) return;
      const ill = cloudcores[pick(3)]!;
      if (random() < 0.6) {
        done.killed++;
        await ill.kill();
        await pause(3_000 + random() * 10_000);
        await ill.start();
      } else {
        done.frozen++;
        ill.freeze();
        await pause(FREEZE_MS);
        ill.freeze(false);
      }
    }
  };
  const killingGateways = async () => {
    while (!isOver()) {
      await pause(8_000 + random() * 15_000);
      if (isOver()) return;
      await hub.killReplica(pick(2), 500 + random() * 3_000);
      done.gateways++;
    }
  };
  await Promise.all([asking(), makingIll(), killingGateways()]);
  await eventually(
    'nobody waits for an answer',
    () => sum('asked') === sum('answered') + sum('unanswered'),
    120_000,
  );
  const counts = { asked: sum('asked'), answered: sum('answered'), cut: sum('cut'), ...done };
  console.log(JSON.stringify({ CHAOS_SEED: SEED, seconds: SECONDS, ...counts }));
  expect(done.killed + done.frozen).toBeGreaterThan(0);
  expect(done.gateways).toBeGreaterThan(0);
  expect(counts.asked).toBeGreaterThan(SECONDS);
  expect({ unanswered: sum('unanswered'), twice: sum('twice') }, hub.logs()).toEqual({
    unanswered: 0,
    twice: 0,
  });
});
