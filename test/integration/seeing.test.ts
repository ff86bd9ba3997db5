import { expect, test } from 'vitest';
import type { NodeInfo } from '../../src/contracts/node-directory.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { metric, metricsText } from '../support/fleets/gateway-views.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { dashboardQueries, metricUses, ruleQueries } from '../support/promql.ts';

test('L1: a running gateway tells by metrics how long things last, what was done, and whether it is well', async () => {
  await using hub = await startTestGateway({
    settings: { 'hub.nodeLimit': '77', 'hub.nodeMetrics': 'true' },
  });
  const client = await EdgeClient.join({
    ...hub.edgeOptions('edge-1'),
    token: await hub.nodeToken('edge-1'),
  });
  await client.connect();
  await hub.admin.post('/api/v1/certificates/hub/rotate');
  const now = Date.now() / 1000;
  const value = (name: string, labels = {}) => metric(hub, name, labels);

  expect(await value('ready')).toBe(1);
  expect(await value('health_check_passing', { check: 'served' })).toBe(1);
  expect(await value('build_info')).toBe(1);
  expect(await value('secret_store_watch_up', { watch: 'folder' })).toBe(1);
  expect(await value('hub_certificate_rotations_total', { result: 'success' })).toBe(1);
  expect(await value('hub_certificate_rotations_total', { result: 'failure' })).toBe(0);
  expect(await value('sessions', { transport: 'websocket' })).toBe(1);
  expect(await value('session_limit')).toBe(77);
  expect(await value('downstream_queue_limit_messages')).toBe(hub.config.current.hub.queue.messages);
  const begin = await value('fleet_token_not_before_timestamp_seconds');
  const end = await value('fleet_token_not_after_timestamp_seconds');
  expect(begin).toBeGreaterThan(now - 3_600);
  expect(end - begin).toBeCloseTo(hub.config.current.tokens.fleetTtlMs / 1000, 0);
  // Nobody fetched the CRL.
  expect(await value('crl_next_update_timestamp_seconds')).toBeGreaterThan(now + 6 * 86_400);
  for (const kind of ['ca', 'hub']) {
    expect(await value('certificate_not_after_timestamp_seconds', { kind })).toBeGreaterThan(now);
    expect(await value('certificate_not_before_timestamp_seconds', { kind })).toBeLessThan(now);
  }
  await client.close();
});

test('L6: keys are agreed on with a post-quantum group by default, and operators see it of each node', async () => {
  await using hub = await startTestGateway({
    settings: { 'quic.enabled': 'true', 'webtransport.enabled': 'true' },
  });
  const group = async (transport: 'websocket' | 'webtransport' | 'quic') => {
    const client = await EdgeClient.join({
      ...hub.edgeOptions(transport),
      transport,
      token: await hub.nodeToken(transport),
    });
    await client.connect();
    return [(await hub.admin.get<NodeInfo>(`/api/v1/nodes/${transport}`)).keyExchange, client] as const;
  };
  const [websocket, first] = await group('websocket');
  const [webtransport, second] = await group('webtransport');
  const [quic, third] = await group('quic');
  expect(websocket).toEqual({ group: 'X25519MLKEM768', postQuantum: true });
  expect(webtransport).toEqual(websocket);
  expect(quic).toEqual({ group: 'unknown', postQuantum: false });
  expect(await metric(hub, 'sessions', { group: 'X25519MLKEM768', post_quantum: 'yes' })).toBe(2);
  expect(await metric(hub, 'sessions', { transport: 'quic', post_quantum: 'no' })).toBe(1);
  for (const client of [first, second, third]) await client.close();
});

test('L1: what the alerts and the dashboard ask for is in /metrics of a running gateway', async () => {
  await using hub = await startTestGateway();
  const text = await metricsText(hub);
  const served = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name!));
  /** Labels that a series of the metric has now; undefined while there is none. */
  const labelsOf = (name: string) => {
    const series = new RegExp(`^${name}(?:\\{(.*)\\})? \\S+$`, 'm').exec(text);
    return series && new Set([...(series[1] ?? '').matchAll(/(\w+)="/g)].map(([, label]) => label!));
  };
  for (const { where, query } of [...ruleQueries(), ...dashboardQueries()]) {
    for (const { metric: name, matchers } of metricUses(query)) {
      expect([...served], `${where}: ${name}`).toContain(name.replace(/_(bucket|sum|count)$/, ''));
      const labels = labelsOf(name);
      for (const label of matchers)
        if (labels && !['job', 'instance'].includes(label))
          expect([...labels], `${where}: ${name}`).toContain(label);
    }
  }
});
