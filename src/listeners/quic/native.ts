import type { createQuicServer } from '@currentspace/http3';
import { SallyportError } from '../../core/errors.ts';

export type QuicLibrary = typeof import('@currentspace/http3');
export type QuicServer = ReturnType<typeof createQuicServer>;

/**
 * Loads the native library, only when QUIC is enabled: 58 MB that nobody else needs. It reads the system's CA
 * file for every connection, although it is given the CAs to trust; pointing it at nothing halves the cost of
 * a handshake (measured, docs/decisions/quic-library.md). An operator's own setting stays.
 *
 * @throws CONFIG_INVALID when Node may not load it, or it is not installed: for users of the package it is an
 * optional peer (docs/decisions/optional-quic.md)
 */
export async function loadQuicLibrary(): Promise<QuicLibrary> {
  // The library says nothing of the flag, only that it is incomplete.
  if (process.permission?.has('addon') === false) {
    const problem =
      "quic.enabled is true, but Node's permission model forbids native libraries: add --allow-addons to NODE_OPTIONS";
    throw new SallyportError('CONFIG_INVALID', { problem });
  }
  process.env.SSL_CERT_FILE ??= '/dev/null';
  process.env.SSL_CERT_DIR ??= '/var/empty';
  try {
    return await import('@currentspace/http3');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    const problem = 'quic.enabled is true, but its library is not installed: npm install @currentspace/http3';
    throw new SallyportError('CONFIG_INVALID', { problem }, cause);
  }
}

export interface HandshakeObserver {
  /**
   * A handshake failed that had come far enough to have a connection. `port` is the peer's, `code` QUIC's
   * error code.
   */
  onHandshakeFailed(port: number, code: number): void;
}

/** The library's numbers of its events. */
const NEW_SESSION = 1;
const SESSION_CLOSE = 7;
const HANDSHAKE_COMPLETE = 11;

interface NativeEvent {
  readonly eventType: number;
  readonly connHandle: number;
  readonly meta?: { readonly remotePort?: number; readonly errorCode?: number };
}

/**
 * Sees failed handshakes (requirement L2). The library's public interface reports only sessions whose
 * handshake succeeded, so this is the one place that looks inside it (0.9.0). Should a later version not have
 * the method, failures are merely not counted.
 */
export function observeHandshakes(server: QuicServer, observer: HandshakeObserver): void {
  const inside = server as unknown as { _dispatchEvents?: (events: readonly NativeEvent[]) => void };
  const dispatch = inside._dispatchEvents;
  if (typeof dispatch !== 'function') return;
  const underWay = new Map<number, number>();
  inside._dispatchEvents = (events) => {
    for (const { eventType, connHandle, meta } of events) {
      if (eventType === NEW_SESSION) underWay.set(connHandle, meta?.remotePort ?? 0);
      else if (eventType === HANDSHAKE_COMPLETE) underWay.delete(connHandle);
      else if (eventType === SESSION_CLOSE) {
        const port = underWay.get(connHandle);
        if (port !== undefined) observer.onHandshakeFailed(port, meta?.errorCode ?? 0);
        underWay.delete(connHandle);
      }
    }
    dispatch.call(server, events);
  };
}
