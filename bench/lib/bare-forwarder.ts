/**
 * What the relay is compared with: mutual TLS and two WebSockets a node, frames passed on unread. A process
 * of its own: `node bare-forwarder.ts HOST:PORT CERT KEY CA`; prints its port.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';

const [upstream, certFile, keyFile, caFile] = process.argv.slice(2) as [string, string, string, string];
const [cert, key, ca] = [certFile, keyFile, caFile].map((file) => readFileSync(file));
const server = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: true } as object);
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (edge, request) => {
  edge.pause();
  const cloud = new WebSocket(`wss://${upstream}${request.url}`, {
    rejectUnauthorized: false,
    perMessageDeflate: false,
    skipUTF8Validation: true,
  });
  cloud.on('open', () => edge.resume());
  edge.on('message', (data, binary) => cloud.send(data as Buffer, { binary }));
  cloud.on('message', (data, binary) => edge.send(data as Buffer, { binary }));
  edge.on('close', () => cloud.terminate());
  cloud.on('error', () => edge.terminate()).on('close', () => edge.terminate());
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
process.on('SIGTERM', () => process.exit(0));
