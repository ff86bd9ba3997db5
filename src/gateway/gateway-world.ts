import { hostname } from 'node:os';
import type { LiveConfig } from '../config/live-config.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { HealthRegistry } from '../core/health.ts';
import type { Logger } from '../core/log.ts';
import { createMetrics, type Metrics } from '../core/metrics.ts';

export interface GatewayComponents {
  readonly config: LiveConfig;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** What every part of one gateway shares. */
export interface GatewayWorld {
  readonly config: LiveConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly health: HealthRegistry;
  /** Names this process in its fleet. */
  readonly replica: string;
  /** Names this run of the gateway. */
  readonly startedAt: string;
  /** Changes once, when the stop begins. */
  readonly run: { isDraining: boolean };
}

export function createWorld({ config, log, clock = systemClock }: GatewayComponents): GatewayWorld {
  return {
    config,
    clock,
    log,
    metrics: createMetrics(),
    health: new HealthRegistry(),
    replica: config.current.hub.replica ?? hostname(),
    startedAt: new Date(clock.now()).toISOString(),
    run: { isDraining: false },
  };
}
