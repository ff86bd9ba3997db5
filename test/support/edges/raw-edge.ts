import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import type { EdgeCoreCredentials } from './edgecore.ts';

/** The first bytes of a TLS 1.3 client hello that announces more than will come. */
const HALF_HELLO = Buffer.from('16030100f8010000f40303', 'hex');

/** A connection on the wire, below every library, for peers that do not behave. */
export function rawTcp(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, localAddress }, () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => {});
  });
}

export function rawTls(port: number, credentials?: EdgeCoreCredentials): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = tlsConnect(
      { host: '127.0.0.1', port, servername: 'localhost', rejectUnauthorized: false, ...credentials },
      () => resolve(socket),
    );
    socket.once('error', reject);
    socket.on('error', () => {});
  });
}

/** A whole client hello that a real client made, and not a word after it. */
export async function helloAlone(port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = await rawTcp(port, localAddress);
  const client = tlsConnect({
    socket: new Duplex({ read() {}, write: (chunk, _encoding, done) => void socket.write(chunk, done) }),
    rejectUnauthorized: false,
  });
  client.on('error', () => {});
  return socket;
}

export const halfHello = (socket: Socket): void => void socket.write(HALF_HELLO);

export function upgradeRequest(node: string): string {
  return [
    `GET /e632aba927ea4ac2b575ec1603d56f10/${node}/events HTTP/1.1`,
    'Host: localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: c2FsbHlwb3J0LXRlc3QhIQ==',
    `node_id: ${node}`,
    'project_id: e632aba927ea4ac2b575ec1603d56f10',
    '\r\n',
  ].join('\r\n');
}

/** A WebSocket of which the test writes every byte. Resolves after the 101. */
export async function rawWebSocket(
  port: number,
  node: string,
  credentials: EdgeCoreCredentials,
): Promise<TLSSocket> {
  const socket = await rawTls(port, credentials);
  socket.write(upgradeRequest(node));
  const answer = await new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve);
    socket.once('close', () => reject(new Error('closed before the upgrade')));
  });
  if (!answer.toString('latin1').startsWith('HTTP/1.1 101')) throw new Error(answer.toString('latin1'));
  return socket;
}

/** The head of a frame of a client (RFC 6455 §5.2) with a mask of zeros. @param first FIN, RSV and opcode */
export function frameHead(first: number, length: number): Buffer {
  const mask = Buffer.alloc(4);
  if (length < 126) return Buffer.concat([Buffer.from([first, 0x80 | length]), mask]);
  const long = Buffer.alloc(10);
  long.writeUInt8(first, 0);
  long.writeUInt8(0x80 | 127, 1);
  long.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([long, mask]);
}

/** The code of the close frame that comes, or `closed` when the connection ends without one. */
export function closeCode(socket: TLSSocket): Promise<number | 'closed'> {
  return new Promise((resolve) => {
    let all = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      all = Buffer.concat([all, chunk]);
      const at = all.indexOf(0x88);
      if (at >= 0 && all.length >= at + 4) resolve(all.readUInt16BE(at + 2));
    });
    socket.once('close', () => resolve('closed'));
  });
}
