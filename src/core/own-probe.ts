import type { Socket } from 'node:net';

/**
 * Stands where the address of a client would, when that client is the gateway itself and tries its own door.
 * No client can have it: an address is read from a socket or a PROXY header, and is an IP address. Whoever
 * counts, logs or remembers refusals leaves it out.
 */
export const OWN_PROBE = 'self-test';

/** Told where a connection comes from, before anything is sent over it. */
export type OnBound = (from: { readonly host: string; readonly port: number }) => void;

/** @param socket one that is not connected yet */
export function tellBound(socket: Socket, onBound: OnBound | undefined): void {
  socket.once('connect', () => onBound?.({ host: socket.localAddress!, port: socket.localPort! }));
}
