import { hostname } from 'node:os';
import { openAuditTrail } from '../audit/open-audit-trail.ts';
import type { LiveConfig } from '../config/live-config.ts';
import type { AuditTrail } from '../contracts/audit-trail.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { HealthRegistry } from '../core/health.ts';
import type { Logger } from '../core/log.ts';
import { createMetrics, type Metrics } from '../core/metrics.ts';
import { Namesakes } from '../fleet/namesakes.ts';
import { chooseQuic, type QuicChoice } from './quic-choice.ts';

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
  readonly audit: AuditTrail;
  /** Names this process in its fleet. */
  readonly replica: string;
  /** Names this run of the gateway. */
  readonly startedAt: string;
  /** Changes once, when the stop begins. */
  readonly run: { isDraining: boolean };
  readonly quic: QuicChoice;
  readonly namesakes: Namesakes;
}

/**
 * @throws QUIC_LIBRARY_MISSING when QUIC has to be spoken and cannot be, AUDIT_FOLDER_UNUSABLE; nothing else
 * has been written yet
 */
export async function createWorld({
  config,
  log,
  clock = systemClock,
}: GatewayComponents): Promise<GatewayWorld> {
  const quic = await chooseQuic({ log }, config.current.quic.enabled);
  const metrics = createMetrics();
  const replica = config.current.hub.replica ?? hostname();
  return {
    config,
    clock,
    log,
    metrics,
    health: new HealthRegistry(),
    audit: openAuditTrail(
      { clock, log, metrics },
      config.view(({ audit }) => ({ ...audit, replica })),
    ),
    replica,
    startedAt: new Date(clock.now()).toISOString(),
    run: { isDraining: false },
    quic,
    namesakes: new Namesakes({ log }, { replica }),
  };
}
