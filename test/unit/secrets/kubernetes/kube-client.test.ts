import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../../src/core/clock.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { KubeClient } from '../../../../src/secrets/kubernetes/kube-client.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { capturedLog } from '../../../support/captured-log.ts';
import { KubeApi } from '../../../support/kube/kube-api.ts';
import { swallowCalls } from '../../../support/kube/swallowed-calls.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';

const SECRET = '/api/v1/namespaces/kubeedge/secrets/web';
const read = { method: 'GET', path: SECRET } as const;

let api: KubeApi;
let folder: string;
const before = process.env.KUBECONFIG;
beforeEach(async () => {
  api = await KubeApi.start();
  folder = temporaryFolder();
  process.env.KUBECONFIG = join(folder, 'config');
  writeFileSync(process.env.KUBECONFIG, api.kubeconfig());
  api.put('web', { data: {} });
});
afterEach(async () => {
  if (before === undefined) delete process.env.KUBECONFIG;
  else process.env.KUBECONFIG = before;
  await api[Symbol.asyncDispose]();
});

async function rig(clock = new ManualClock()) {
  const components = { clock, log: capturedLog(), metrics: createMetrics({ process: false }) };
  const client = await KubeClient.load(components, { requestTimeoutMs: 10_000 });
  const abandoned = async () => (await components.metrics.storeCallsAbandoned.get()).values[0]?.value ?? 0;
  return { ...components, client, abandoned };
}

/** What a promise came to, as soon as it did. */
function outcome(promise: Promise<unknown>): { value?: unknown; error?: unknown } {
  const seen: { value?: unknown; error?: unknown } = {};
  promise.then(
    (value) => Object.assign(seen, { value }),
    (error: unknown) => Object.assign(seen, { error }),
  );
  return seen;
}

test('R1: a call that never settles and ignores its abort ends at its time limit, with one warning and a metric; the next one succeeds', async () => {
  const { client, clock, log, abandoned } = await rig();
  const swallowed = swallowCalls(/secrets/);
  const calls = [
    outcome(client.call(read)),
    outcome(client.call({ ...read, method: 'PUT', body: {} })),
    outcome(client.lines({ ...read, idleTimeoutMs: 60_000 }).next()),
  ];
  await clock.advance(9_999);
  expect(calls).toEqual([{}, {}, {}]);
  expect(swallowed.count).toBe(3);
  await clock.advance(1);
  for (const { error } of calls) expect(String(error)).toContain('no answer within 10000 ms');
  expect(await abandoned()).toBe(0);
  await clock.advance(1_000);
  expect(await abandoned()).toBe(3);
  expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
  swallowed[Symbol.dispose]();
  expect(await client.call(read)).toMatchObject({ metadata: { name: 'web' } });
  await client.close();
});

test('R1: the time of the API is not waited for either, nor is a caller that gave up', async () => {
  const { client, clock, abandoned } = await rig();
  using _swallowed = swallowCalls(/./);
  const time = outcome(client.serverTime());
  const gone = new AbortController();
  const call = outcome(client.call({ ...read, signal: gone.signal }));
  await clock.advance(5_000);
  gone.abort(new Error('the caller has gone'));
  await clock.advance(0);
  expect(String(call.error)).toContain('the caller has gone');
  await clock.advance(5_000);
  expect(String(time.error)).toContain('no answer within 10000 ms');
  await clock.advance(1_000);
  expect(await abandoned()).toBe(2);
});

test('R1: a call whose connection dies in time is no abandoned one', async () => {
  const { client, clock, abandoned } = await rig();
  api.fail({}, { broken: 'stall' });
  const call = outcome(client.call(read));
  while (api.calls.length === 0) await clock.advance(0);
  await clock.advance(10_000);
  expect(String(call.error)).toContain('no answer within 10000 ms');
  await clock.advance(2_000);
  expect(await abandoned()).toBe(0);
  await client.close();
});

test('R1: it speaks HTTP/1.1 to a server that prefers HTTP/2, and outlives connections that end after an answer', async () => {
  const { client } = await rig(systemClock as ManualClock);
  api.fail({}, { farewell: true });
  for (let call = 0; call < 20; call++)
    expect(await client.call(read)).toMatchObject({ metadata: { name: 'web' } });
  expect(api.connections).toBe(20);
  await client.close();
});
