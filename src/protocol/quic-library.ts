import { describeError, SallyportError } from '../core/errors.ts';

export type QuicLibrary = typeof import('@currentspace/http3');

/**
 * The library that speaks QUIC, for hub and edge. An optional peer of the package: large, and not for every
 * platform (docs/decisions/optional-quic.md).
 * @throws QUIC_LIBRARY_MISSING when it is not installed, Node may not load it, or it has no native part for
 * this platform
 */
export async function importQuicLibrary(
  load: () => Promise<QuicLibrary> = () => import('@currentspace/http3'),
): Promise<QuicLibrary> {
  try {
    const library = await load();
    // Throws when there is no native part, which nothing else tells before it is needed.
    const probe = library.connectQuic(
      { address: '127.0.0.1', port: 9 },
      // Its timer would outlive the abort, and keep the process alive.
      { signal: AbortSignal.abort(), connectTimeoutMs: 0 },
    );
    probe.on('error', () => {});
    probe.ready().catch(() => {});
    return library;
  } catch (cause) {
    throw new SallyportError('QUIC_LIBRARY_MISSING', { problem: whyMissing(cause) }, cause);
  }
}

function whyMissing(cause: unknown): string {
  // The library says nothing of the flag, only that it is incomplete.
  if (process.permission?.has('addon') === false)
    return "Node's permission model forbids it: add --allow-addons to NODE_OPTIONS";
  if ((cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND')
    return 'it is not installed: npm install @currentspace/http3';
  return `it cannot be loaded: ${describeError(cause)}`;
}
