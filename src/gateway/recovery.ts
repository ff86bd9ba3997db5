import type { CertificateManager } from '../certs/certificate-manager.ts';
import type { LiveConfig } from '../config/live-config.ts';
import type { RejectionDirectory, RejectionSink } from '../contracts/rejections.ts';
import type { ReplicaBoard } from '../contracts/replica-board.ts';
import type { Clock } from '../core/clock.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { ListenerGroup } from '../listeners/listener-group.ts';
import { Preflight } from '../selfcheck/preflight.ts';
import { ProbeClients } from '../selfcheck/probe-clients.ts';
import { ServedCheck } from '../selfcheck/served-check.ts';
import { SwapWatch } from '../selfcheck/swap-watch.ts';

export interface RecoveryParts {
  readonly config: LiveConfig;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly board: ReplicaBoard;
  readonly replica: string;
  /** Both are there before anything is asked of them, and each needs the other. */
  readonly certificates: () => CertificateManager;
  readonly listeners: () => ListenerGroup;
}

export interface Recovery {
  readonly preflight: Preflight;
  readonly swapWatch: SwapWatch;
  readonly served: ServedCheck;
  /**
   * Follows the swaps while it runs; `served` is a component of its own, which starts after the listeners.
   */
  readonly component: Component;
  /** Rejections on their way to `sink`, seen by the watch over the latest swap. */
  watching(sink: RejectionSink & RejectionDirectory): RejectionSink & RejectionDirectory;
}

/**
 * What keeps a bad certificate from the fleet: trial before a swap, return after it, and proof of what is
 * served.
 */
export function composeRecovery(parts: RecoveryParts): Recovery {
  const { config, clock, replica, certificates, listeners } = parts;
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
      board: parts.board,
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
