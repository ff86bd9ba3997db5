import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls';
import type { Pair } from '../pki/pki.ts';

/** Options of a client that trusts `ca` and presents `edge`, with its intermediates when there are any. */
export function clientOptions(port: number, ca: Pair, edge?: Pair): ConnectionOptions {
  return {
    host: '127.0.0.1',
    port,
    ca: ca.pem,
    servername: 'localhost',
    ...(edge ? { cert: edge.pem, key: edge.key } : {}),
  };
}

/** Resolves once the handshake is done, rejects when it fails. */
export async function tlsClient(options: ConnectionOptions): Promise<TLSSocket> {
  const socket = tlsConnect(options);
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed during the handshake')));
  });
  socket.on('error', () => {});
  return socket;
}

export async function tcpClient(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Resolves when the socket is closed, with what arrived until then. */
export function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  if (socket.destroyed) return Promise.resolve(text);
  return new Promise((resolve) => socket.once('close', () => resolve(text)));
}
