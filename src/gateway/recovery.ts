import type { CertificateManager } from '../certs/certificate-manager.ts';
import type { LiveConfig } from '../config/live-config.ts';
import type { RejectionDirectory, RejectionSink } from '../contracts/rejections.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Clock } from '../core/clock.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { ListenerGroup } from '../listeners/listener-group.ts';
import { Preflight } from '../selfcheck/preflight.ts';
import { ProbeClients } from '../selfcheck/probe-clients.ts';
import { ReplicaReports } from '../selfcheck/replica-reports.ts';
import { ServedCheck } from '../selfcheck/served-check.ts';
import { SwapWatch } from '../selfcheck/swap-watch.ts';

export interface RecoveryParts {
  readonly config: LiveConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly store: SecretStore;
  readonly replica: string;
  /** Both exist before anything is asked of them. Each of the two needs the other. */
  readonly certificates: () => CertificateManager;
  readonly listeners: () => ListenerGroup;
}

export interface Recovery {
  readonly preflight: Preflight;
  readonly swapWatch: SwapWatch;
  readonly served: ServedCheck;
  /**
   * Follows the swaps while it runs. `served` is a component of its own and starts after the listeners.
   */
  readonly component: Component;
  /** Rejections on their way to `sink`. The watch over the latest swap sees them too. */
  watching(sink: RejectionSink & RejectionDirectory): RejectionSink & RejectionDirectory;
}

/**
 * What keeps a bad certificate away from the fleet: a trial before a swap, the return after it, and proof of
 * what is served.
 */
export function composeRecovery(parts: RecoveryParts): Recovery {
  const { config, store, clock, replica, certificates, listeners } = parts;
  const shared = { clock, log: parts.log, metrics: parts.metrics };
  const clients = new ProbeClients({ clock });
  const probe = config.view(({ advertise, limits, certificates: { servedCheckMs } }) => ({
    replica,
    addresses: advertise.addresses,
    timeoutMs: limits.handshakeTimeoutMs,
    checkMs: servedCheckMs,
  }));
  const preflight = new Preflight({ ...shared, clients, listeners: () => listeners().started }, probe);
  const swapWatch = new SwapWatch(
    { ...shared, returnToPrevious: (problem) => certificates().returnToPrevious(problem) },
    config.view(({ certificates: { returnNodes, returnWindowMs } }) => ({
      nodes: returnNodes,
      windowMs: returnWindowMs,
    })),
  );
  const served = new ServedCheck(
    {
      ...shared,
      clients,
      source: {
        current: () => certificates().current(),
        onChange: (listener) => certificates().onChange(listener),
      },
      authority: () => certificates().authority(),
      reports: new ReplicaReports({ store, clock }, { secret: config.current.certificates.replicaSecret }),
      listeners: () => listeners().started,
      onApplied: (listener) => listeners().onApplied(listener),
    },
    probe,
  );
  let unsubscribe = () => {};
  return {
    preflight,
    swapWatch,
    served,
    component: {
      name: 'swap-watch',
      start: async () => {
        const stopFollowing = certificates().onChange((next, previous) => swapWatch.swapped(next, previous));
        unsubscribe = () => void stopFollowing();
      },
      stop: async () => {
        unsubscribe();
        swapWatch.stop();
      },
    },
    watching: (sink) => ({
      list: () => sink.list(),
      record: (report) => {
        sink.record(report);
        swapWatch.rejected(report);
      },
    }),
  };
}
