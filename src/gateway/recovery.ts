import { following } from '../core/following.ts';
import type { Component } from '../core/lifecycle.ts';
import { RejectionLog } from '../listeners/rejection-log.ts';
import { ServedCheck } from '../selfcheck/served-check.ts';
import { SwapWatch } from '../selfcheck/swap-watch.ts';
import type { Certificates } from './certificates.ts';
import type { GatewayWorld } from './gateway-world.ts';

export interface Recovery {
  readonly swapWatch: SwapWatch;
  /** A component of its own, which starts after the listeners. */
  readonly served: ServedCheck;
  /** The watch over the latest swap sees every one on its way. */
  readonly rejections: Pick<RejectionLog, 'record' | 'list'>;
  /** Follows the swaps while it runs. */
  readonly component: Component;
}

/**
 * What keeps a bad certificate from the fleet after the trial before a swap: the return after it, and proof
 * of what is served.
 */
export function composeRecovery(world: GatewayWorld, certificates: Certificates): Recovery {
  const { config, clock, log, metrics, replica } = world;
  const { current, manager, listeners, clients, board } = certificates;
  const shared = { clock, log, metrics };
  const swapWatch = new SwapWatch(
    { ...shared, returnToPrevious: (problem) => manager.returnToPrevious(problem) },
    config.view(({ certificates: { returnNodes, returnWindowMs } }) => ({
      nodes: returnNodes,
      windowMs: returnWindowMs,
    })),
  );
  const served = new ServedCheck(
    {
      ...shared,
      clients,
      source: current,
      authority: () => current.authority(),
      board,
      listeners: () => listeners.started,
      onApplied: (listener) => listeners.onApplied(listener),
    },
    config.view(({ advertise, limits, certificates: { servedCheckMs } }) => ({
      replica,
      addresses: advertise.addresses,
      timeoutMs: limits.handshakeTimeoutMs,
      checkMs: servedCheckMs,
    })),
  );
  const rejections = new RejectionLog({ clock });
  return {
    swapWatch,
    served,
    rejections: {
      list: () => rejections.list(),
      record: (report) => {
        rejections.record(report);
        swapWatch.rejected(report);
      },
    },
    component: following('swap-watch', () => [
      current.onChange((next, previous) => swapWatch.swapped(next, previous)),
      () => swapWatch.stop(),
    ]),
  };
}
