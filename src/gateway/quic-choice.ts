import { isSallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { loadQuicLibrary } from '../listeners/quic/native.ts';

/** Whether this gateway speaks QUIC. */
export interface QuicChoice {
  readonly isOn: boolean;
  /** One line that says how to get it, where it is off for want of the library. */
  readonly whyNot?: string;
}

/**
 * What `quic.enabled` comes to on this machine.
 * @throws QUIC_LIBRARY_MISSING when it is true
 */
export async function chooseQuic(
  { log, load = loadQuicLibrary }: { readonly log: Logger; readonly load?: () => Promise<unknown> },
  enabled: boolean | 'auto',
): Promise<QuicChoice> {
  if (enabled === false) return { isOn: false };
  try {
    await load();
    return { isOn: true };
  } catch (error) {
    if (enabled === true || !isSallyportError(error, 'QUIC_LIBRARY_MISSING')) throw error;
    const whyNot = `quic is off, its library is missing: ${error.details.problem}`;
    log.info({}, whyNot);
    return { isOn: false, whyNot };
  }
}
