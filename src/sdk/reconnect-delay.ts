import { backoffDelayMs } from '../core/backoff.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';

export interface ReconnectPolicy {
  readonly minMs: number;
  readonly maxMs: number;
  /** Source of randomness in [0, 1). */
  readonly random: () => number;
}

/** A hint is obeyed up to here: a mistake of one hub must not lose a fleet for days. */
export const MAX_HINT_MS = 3_600_000;

/**
 * How long to wait before the next attempt, where there is to be one (`retry` is not `never`).
 * @param reason why the last attempt or link ended; undefined when the hub did not say
 * @param failures attempts in a row, this one included, that led to no lasting link; 0 after a link that
 * lasted
 * @param renewed true when a new certificate was just obtained because of `reason`
 */
export function reconnectDelayMs(
  reason: CloseReason | undefined,
  { failures, renewed }: { failures: number; renewed: boolean },
  policy: ReconnectPolicy,
): number {
  const hint = Math.min(reason?.reconnectAfterMs ?? 0, MAX_HINT_MS);
  const backoff = backoffDelayMs(Math.max(0, failures - 1), policy);
  switch (reason?.retry) {
    case 'soon':
      // The hub has spread its fleet already when it gave a hint. Being sent away again and again is no
      // longer "soon".
      if (failures > 1) return Math.max(hint, backoff);
      return reason.reconnectAfterMs === undefined ? Math.round(policy.minMs * policy.random()) : hint;
    case 'renew':
      return renewed && failures <= 1 ? hint : Math.max(hint, backoff);
    default:
      return Math.max(hint, backoff);
  }
}
