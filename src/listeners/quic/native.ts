import { setImmediate as nextTurn } from 'node:timers/promises';
import type { connectQuic, createQuicServer } from '@currentspace/http3';
import type { Probe } from '../../contracts/handshake.ts';
import { importQuicLibrary, type QuicLibrary } from '../../protocol/quic-library.ts';

export type { QuicLibrary };
export type QuicServer = ReturnType<typeof createQuicServer>;

/** Memory that connections gave back goes to the system soon, and servers share it (jemalloc's options). */
const ALLOCATOR = 'narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0';

/**
 * Loads the native library, only when QUIC is wanted: 58 MB that nobody else needs. It reads the system's CA
 * file for every connection, although it is given the CAs to trust; pointing it at nothing halves the cost of
 * a handshake (measured, docs/decisions/quic-library.md). An operator's own settings stay.
 *
 * @throws QUIC_LIBRARY_MISSING
 */
export function loadQuicLibrary(): Promise<QuicLibrary> {
  process.env.SSL_CERT_FILE ??= '/dev/null';
  process.env.SSL_CERT_DIR ??= '/var/empty';
  process.env._RJEM_MALLOC_CONF ??= ALLOCATOR;
  return importQuicLibrary();
}

export interface HandshakeObserver {
  /**
   * A handshake failed that had come far enough to have a connection. `port` is the peer's, `code` QUIC's
   * error code.
   */
  onHandshakeFailed(port: number, code: number): void;
}

/** Turns of the event loop in which a client may get its socket; it takes one (0.9.0). */
const SOCKET_TURNS = 10;

/**
 * Where a client sends from, told before its handshake can be done: that takes more turns of the event loop.
 * The library's public interface does not tell it, so this looks inside, too (0.9.0). Should a later version
 * not have it, `onBound` is not called. Never rejects.
 */
export async function tellPort(
  session: ReturnType<typeof connectQuic>,
  { host, onBound }: Pick<Probe, 'host' | 'onBound'>,
): Promise<void> {
  const inside = session as unknown as { _eventLoop?: { worker?: { localAddress?(): { port: number } } } };
  for (let turn = 0; onBound && turn < SOCKET_TURNS; turn++) {
    await nextTurn();
    try {
      const port = inside._eventLoop?.worker?.localAddress?.().port;
      // The system answers a local address from the same one.
      if (port) return onBound({ host, port });
    } catch {
      return;
    }
  }
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
