import { expect, test } from 'vitest';
import { type ChaosOptions, runChaos } from './run-chaos.ts';

/** Small enough for two shared cores; `npm run chaos` is the long one. */
const SHORT = {
  edges: 24,
  messages: 960,
  durationMs: 15_000,
  pauseMs: 2_500,
  say: (text: string) => console.log(text),
} satisfies Partial<ChaosOptions>;

async function expectNothingLost(options: ChaosOptions): Promise<void> {
  const { logs, examples, ...report } = await runChaos(options);
  console.table(report);
  expect(report.killedReplicas, 'replicas killed').toBeGreaterThan(0);
  expect(report.killedNats, 'nats-servers killed').toBeGreaterThan(0);
  expect(report.acknowledgedUp, 'acknowledged upstream').toBeGreaterThanOrEqual(options.messages / 2);
  expect(report.acknowledgedDown, 'acknowledged downstream').toBeGreaterThanOrEqual(
    (options.messages / 2) * 0.8,
  );
  const { lostUp, doubledUp, lostDown, doubledDown } = report;
  expect({ lostUp, doubledUp, lostDown, doubledDown }, [...examples, logs].join('\n')).toEqual({
    lostUp: 0,
    doubledUp: 0,
    lostDown: 0,
    doubledDown: 0,
  });
}

test('H1: behind a random balancer with three replicas and three nats-servers, whoever is killed, no acknowledged message is lost or doubled', async () => {
  await expectNothingLost({ ...SHORT, natsServers: 3 });
});

test('H1: with one nats-server that is killed and comes back, no acknowledged message is lost or doubled', async () => {
  await expectNothingLost({ ...SHORT, natsServers: 1 });
});
