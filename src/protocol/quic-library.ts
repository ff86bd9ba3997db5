import { describeError, SallyportError } from '../core/errors.ts';

export type QuicLibrary = typeof import('@currentspace/http3');

/**
 * The library that speaks QUIC, for hub and edge. An optional peer of the package: large, and not for every
 * platform (docs/decisions/optional-quic.md).
 * @throws QUIC_LIBRARY_MISSING when it is not installed, or has no native part for this platform
 */
export async function importQuicLibrary(
  load: () => Promise<QuicLibrary> = () => import('@currentspace/http3'),
): Promise<QuicLibrary> {
  try {
    const library = await load();
    // Throws when there is no native part, which nothing else tells before it is needed.
    const probe = library.connectQuic({ address: '127.0.0.1', port: 9 }, { signal: AbortSignal.abort() });
    probe.on('error', () => {});
    probe.ready().catch(() => {});
    return library;
  } catch (cause) {
    const isAbsent = (cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND';
    const problem = isAbsent ? 'it is not installed' : `it cannot be loaded: ${describeError(cause)}`;
    throw new SallyportError('QUIC_LIBRARY_MISSING', { problem }, cause);
  }
}
