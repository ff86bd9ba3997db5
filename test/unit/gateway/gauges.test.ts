import { expect, test } from 'vitest';
import { HealthRegistry } from '../../../src/core/health.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { publishGatewayGauges } from '../../../src/gateway/gauges.ts';

test('L1: each scrape says whether the replica is ready, by check, and the limits in force', async () => {
  const metrics = createMetrics({ process: false });
  const health = new HealthRegistry();
  let problem: string | undefined;
  health.register('ping', ['livez', 'readyz'], () => undefined);
  health.register('bus', ['readyz'], () => {
    if (problem) throw new Error(problem);
    return undefined;
  });
  let nodeLimit = 10;
  const queue = { messages: 5, bytes: 6 } as never;
  publishGatewayGauges(metrics, { health, replica: 'hub-0', hub: () => ({ nodeLimit, queue }) });
  const before = await metrics.expose();
  expect(before).toMatch(/^sallyport_build_info\{version="[^"]+",replica="hub-0"\} 1$/m);
  expect(before).toContain('sallyport_ready 1');
  expect(before).toContain('sallyport_session_limit 10');
  expect(before).toContain('sallyport_downstream_queue_limit_messages 5');
  expect(before).toContain('sallyport_hub_certificate_rotations_total{result="failure"} 0');
  problem = 'down';
  nodeLimit = 20;
  const after = await metrics.expose();
  expect(after).toContain('sallyport_ready 0');
  expect(after).toContain('sallyport_health_check_passing{check="bus"} 0');
  expect(after).toContain('sallyport_health_check_passing{check="ping"} 1');
  expect(after).toContain('sallyport_session_limit 20');
});
