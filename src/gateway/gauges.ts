import type { Config } from '../config/schema.ts';
import type { HealthRegistry } from '../core/health.ts';
import type { Metrics } from '../core/metrics.ts';
import { VERSION } from '../core/version.ts';

export interface GatewayGaugeSubjects {
  readonly health: HealthRegistry;
  readonly replica: string;
  readonly hub: () => Pick<Config['hub'], 'nodeLimit' | 'queue'>;
}

/**
 * Gauges whose values are read when somebody asks: what runs here, whether it is ready, and the limits that
 * other figures are compared with.
 */
export function publishGatewayGauges(metrics: Metrics, subjects: GatewayGaugeSubjects): void {
  const { health, replica, hub } = subjects;
  metrics.buildInfo.set({ version: VERSION, replica }, 1);
  // They are there from the first scrape on, so that an increase is seen.
  for (const result of ['success', 'failure']) metrics.rotations.inc({ result }, 0);
  metrics.onScrape(async () => {
    const { nodeLimit, queue } = hub();
    metrics.sessionLimit.set(nodeLimit);
    metrics.queueLimit.set(queue.messages);
    metrics.queueLimitBytes.set(queue.bytes);
    const results = await health.run('readyz');
    for (const { name, ok } of results) metrics.healthCheck.set({ check: name }, ok ? 1 : 0);
    metrics.ready.set(results.every(({ ok }) => ok) ? 1 : 0);
  });
}
