/**
 * What we compare with: the least that terminates mutual TLS and WebSocket in Node and parses each message:
 * `https` + `ws`, nothing else. Started as a process of its own: `node bare-server.ts CERT KEY CA`; prints
 * its port.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';

const [cert, key, ca] = process.argv.slice(2).map((file) => readFileSync(file!));
const server = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: true } as object);
let messages = 0;
const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 16 * 1024 * 1024 });
sockets.on('connection', (socket) => {
  socket.on('message', (data) => {
    const message = JSON.parse(String(data)) as { header: { msg_id: string; sync?: boolean } };
    messages++;
    if (message.header.sync)
      socket.send(
        JSON.stringify({
          header: { msg_id: 'x', parent_msg_id: message.header.msg_id, timestamp: messages },
          route: {},
          content: 'OK',
        }),
      );
  });
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
process.on('SIGTERM', () => process.exit(0));
