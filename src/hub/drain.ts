import type { Clock } from '../core/clock.ts';
import type { Session } from './session.ts';

/**
 * Longest wait for outstanding acknowledgements from the begin of the drain, milliseconds (requirement H3).
 */
const ACKNOWLEDGEMENTS_MS = 5_000;

export interface DrainOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly windowMs: number;
  readonly signal: AbortSignal;
  readonly end: (session: Session) => void;
}

/**
 * Ends each session at a moment of its own within the window, those that wait for acknowledgements a little
 * later.
 */
export async function drainSessions(sessions: readonly Session[], options: DrainOptions): Promise<void> {
  // From here on nothing new is begun, so what is under way can finish.
  for (const session of sessions) session.paused = true;
  await Promise.all(sessions.map((session) => drainOne(session, options)));
}

async function drainOne(
  session: Session,
  { clock, random, windowMs, signal, end }: DrainOptions,
): Promise<void> {
  const begin = clock.monotonic();
  const patience = new AbortController();
  const limit = AbortSignal.any([signal, patience.signal]);
  try {
    await clock.sleep(random() * windowMs, signal);
    const leftMs = begin + ACKNOWLEDGEMENTS_MS - clock.monotonic();
    if (leftMs > 0) await Promise.race([session.whenAcknowledged(), clock.sleep(leftMs, limit)]);
  } catch {
    // The signal: no more patience.
  }
  patience.abort();
  end(session);
}
