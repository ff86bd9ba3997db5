import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { goGet } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { Fleet } from '../support/fleets/fleet.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

const settings = { 'webtransport.enabled': 'true' };

test('edges over WebTransport live through rotations of the hub certificate: nothing drops, nothing is lost', async () => {
  await using hub = await startTestGateway({ settings });
  await using fleet = new Fleet(hub);
  await fleet.join(5, 'webtransport');
  for (let rotation = 0; rotation < 5; rotation++) {
    await hub.admin.post('/api/v1/certificates/hub/rotate');
    await fleet.exchange();
  }
  expect(await fleet.report()).toEqual({
    sentUp: 25,
    sentDown: 25,
    dropped: 0,
    rebalanced: 0,
    lostUp: 0,
    lostDown: 0,
    doubledDown: 0,
  });
  const { items } = await hub.admin.get<{ items: { transport: string }[] }>('/api/v1/nodes');
  expect(items.map(({ transport }) => transport)).toEqual(Array(5).fill('webtransport'));
});

test('a session that nears its credit is renewed in time, again and again, and nothing is lost or doubled', async () => {
  const limit = 256 * 1024;
  await using hub = await startTestGateway({
    settings: { ...settings, 'webtransport.sessionBytes': String(limit) },
  });
  await using edge = await EdgeClient.join({
    ...hub.edgeOptions('edge-1'),
    transport: 'webtransport',
    token: await hub.nodeToken('edge-1'),
  });
  const [gone, down]: [(string | undefined)[], number[]] = [[], []];
  edge.on('disconnected', ({ reason }) => void gone.push(reason?.name));
  edge.on('message', ({ content }) => void down.push((content as { n: number }).n));
  const up: number[] = [];
  const following = new AbortController();
  const followed = (async () => {
    for await (const { data } of hub.admin.events('/api/v1/events?type=message&resourcePrefix=node/', {
      signal: following.signal,
    })) {
      const { n } = (data as { message: { content: { n?: number } } }).message.content;
      if (n !== undefined) up.push(n);
    }
  })();
  await edge.connect();

  const padding = 'x'.repeat(16 * 1024);
  const numbers = Array.from({ length: 200 }, (_, n) => n);
  // 3 MiB each way: about a dozen times the limit; what is under way when a session is renewed goes beyond
  // it.
  const sendAll = async (send: (n: number) => Promise<unknown>) => {
    for (let at = 0; at < numbers.length; at += 10) await Promise.all(numbers.slice(at, at + 10).map(send));
  };
  await Promise.all([
    sendAll((n) => edge.send({ resource: `app/up/${n}`, operation: 'update', content: { n, padding } })),
    // Queued, not awaited one by one: a node that is being renewed counts as offline for a moment.
    sendAll((n) =>
      hub.admin.post('/api/v1/nodes/edge-1/messages', {
        resource: `app/down/${n}`,
        operation: 'update',
        content: { n, padding },
      }),
    ),
  ]);
  await eventually('all of it came down', () => new Set(down).size === numbers.length);
  await eventually('all of it came up', () => new Set(up).size === numbers.length);
  following.abort();
  await followed;

  expect([...new Set(up)].sort((a, b) => a - b)).toEqual(numbers);
  expect(down.sort((a, b) => a - b)).toEqual(numbers);
  expect(gone.length).toBeGreaterThanOrEqual(5);
  expect(new Set(gone)).toEqual(new Set(['Rebalance']));
});

test('readiness, the info of the gateway and the address say which HTTP is served, and why not more', async () => {
  await using hub = await startTestGateway({ settings });
  const listener = hub.gateway.info().listeners.find(({ name }) => name === 'webtransport');
  expect(listener?.detail).toMatch(/^HTTP\/2 (and HTTP\/3|only: .+)$/);
  const { body } = await goGet(hub.port('https'), '/readyz?verbose');
  expect(String(body)).toContain(`webtransport (${listener?.detail})`);
});
