import { expect, test } from 'vitest';
import { ManualClock } from '../fakes/manual-clock.ts';
import { eventually } from '../support/eventually.ts';
import { KubeApi } from '../support/kube/kube-api.ts';
import { startKubeGateway } from '../support/kube/kube-gateway.ts';
import { swallowCalls } from '../support/kube/swallowed-calls.ts';

/** On CA, hub certificate, trust, rollover, revocations and replicas. */
const WATCHES = 6;

/**
 * What is being started, on a clock that goes on meanwhile, though slowly: calls must not run out of time.
 */
async function started<T>(starting: Promise<T>, clock: ManualClock): Promise<T> {
  let isUp = false;
  const up = () => {
    isUp = true;
  };
  starting.then(up, up);
  await eventually('it is up', async () => {
    await clock.advance(1);
    return isUp;
  });
  return starting;
}

test('R1: no reader of the API waits for ever for calls that never settle: each is on time again when they end, and readiness says so meanwhile', async () => {
  await using api = await KubeApi.start();
  const clock = new ManualClock(Date.now());
  await using hub = await started(startKubeGateway(api, { clock }), clock);
  await eventually('every watch is open', () => api.watches === WATCHES);

  const swallowed = swallowCalls(/secrets/);
  api.endWatches('end');
  const startedSwallowing = api.calls.length;
  for (let step = 0; step < 60; step++) await clock.advance(5_000);
  expect(swallowed.count).toBeGreaterThan(60);
  expect(api.calls.length).toBe(startedSwallowing);
  const { status, text } = await hub.admin.text('/readyz?verbose');
  expect([status, text]).toEqual([200, expect.stringMatching(/revocations.*stays in force/)]);
  swallowed[Symbol.dispose]();

  await eventually('every reader asks again', async () => {
    await clock.advance(1_000);
    const asked = api.calls.slice(startedSwallowing).map(({ verb, name, query }) => {
      return `${verb} ${name ?? query.get('fieldSelector')?.replace('metadata.name=', '')}`;
    });
    return (
      api.watches === WATCHES &&
      ['get sallyport-revocations', 'get tokensecret', 'list casecret'].every((one) => asked.includes(one))
    );
  });
  await eventually('readiness says nothing any more', async () => {
    await clock.advance(1_000);
    return !(await hub.admin.text('/readyz?verbose')).text.includes('stays in force');
  });
});

test('R4: metrics are scraped by bearer token through an outage; nothing else of the admin API can be used', async () => {
  await using api = await KubeApi.start();
  const clock = new ManualClock(Date.now());
  await using hub = await started(startKubeGateway(api, { clock }), clock);
  const scrape = async () => (await hub.admin.text('/metrics')).status;
  expect([await scrape(), (await hub.admin.text('/api/v1/info')).status]).toEqual([200, 200]);
  api.fail({}, { status: 503 });
  // Its length does not matter: see the reviewer's own tests.
  for (const ms of [31_000, 300_000]) {
    await clock.advance(ms);
    expect([await scrape(), (await hub.admin.text('/api/v1/info')).status]).toEqual([200, 503]);
  }
});
