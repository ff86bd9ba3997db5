/**
 * The far end of the relay's measurement: answers each question at once with a message of about its size.
 * `node answering-cloud.ts PORT CERT KEY`; prints its port.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { WebSocketServer } from 'ws';

const port = process.argv[2]!;
const [cert, key] = process.argv.slice(3).map((file) => readFileSync(file));
const server = createServer({ cert, key, requestCert: true, rejectUnauthorized: false } as object);
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
const rest = JSON.stringify({
  timestamp: 1_795_466_360_546,
}).slice(1);
const route = '{"source":"edgecontroller","group":"resource","operation":"response","resource":"x/lease/y"}';
const content = JSON.stringify({ Object: { spec: { holderIdentity: 'x'.repeat(60) } }, Err: null });
let answers = 0;
sockets.on('connection', (socket) => {
  socket.on('message', (data) => {
    const id = /^\{"header":\{"msg_id":"([^"]+)"/.exec(String(data).slice(0, 80))?.[1];
    if (id === undefined || !String(data).includes('"edged"')) return;
    const own = `a-${++answers}`;
    socket.send(
      `{"header":{"msg_id":"${own}","parent_msg_id":"${id}",${rest},"route":${route},"content":${content}}\n`,
    );
  });
});
server.listen(Number(port), '127.0.0.1', () => process.stdout.write(`${port}\n`));
process.on('SIGTERM', () => process.exit(0));
