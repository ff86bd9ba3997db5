/**
 * A hostile peer in a process of its own, so that its work and its sockets are not ours. Started with `fork`;
 * the first message says what to do, the answer is one line about what it saw.
 */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { inParallel, openSocket } from '../../bench/lib/edges.ts';
import type { EdgeCoreCredentials } from '../support/edges/edgecore.ts';
import { LARGEST_SHAPES } from '../support/edges/largest-messages.ts';
import { halfHello, helloAlone, rawTcp, rawWebSocket } from '../support/edges/raw-edge.ts';

export interface Edge extends EdgeCoreCredentials {
  readonly node: string;
}

interface Rate {
  readonly perSecond: number;
  readonly seconds: number;
}

/** What an attacker can be told to do. */
export interface Orders {
  /** Connects, says what it is told, and then nothing. */
  halfOpen: Rate & {
    readonly ports: readonly number[];
    readonly addresses: 'one' | 'many';
    readonly says: 'nothing' | 'half a hello' | 'a hello';
  };
  /** Connects as many times as it can at once, and holds what it has. */
  hold: { readonly ports: readonly number[]; readonly sockets: number; readonly seconds: number };
  /** Whole connects of valid nodes, each of which leaves at once. */
  connects: { readonly port: number; readonly edges: readonly Edge[]; readonly count: number };
  largest: { readonly port: number; readonly edge: Edge; readonly shape: string; readonly times: number };
  /** Valid nodes that never read. */
  slowReaders: { readonly port: number; readonly edges: readonly Edge[]; readonly seconds: number };
  /** First datagrams of QUIC from senders that never answer. */
  forge: Rate & { readonly port: number };
}

export type OrderName = keyof Orders;

/** Of an EdgeCore's largest message, so that it still fits with its header. */
const LARGEST_BYTES = 16 * 1024 * 1024 - 1_024;
const PROJECT = 'e632aba927ea4ac2b575ec1603d56f10';
/** More than the gateway remembers of senders that have not proven their address. */
const FORGED_SENDERS = 2_048;

const DEEDS: { readonly [N in OrderName]: (order: Orders[N]) => Promise<string> } = {
  async halfOpen({ ports, addresses, says, ...rate }) {
    let [opened, refused] = [0, 0];
    const sockets: Socket[] = [];
    await atRate(rate, (n) => {
      const port = ports[n % ports.length]!;
      const from = addresses === 'one' ? '127.0.0.2' : `127.1.${(n >> 8) & 0xff}.${n & 0xff}`;
      const opening = says === 'a hello' ? helloAlone(port, from) : rawTcp(port, from);
      opening.then(
        (socket) => {
          opened++;
          sockets.push(socket.resume());
          if (says === 'half a hello') halfHello(socket);
        },
        () => refused++,
      );
    });
    const kept = sockets.filter((socket) => !socket.destroyed).length;
    for (const socket of sockets) socket.destroy();
    return `${opened} opened, ${refused} refused, ${kept} open at the end`;
  },

  async hold({ ports, sockets: count, seconds }) {
    const sockets: Socket[] = [];
    let ended = 0;
    for (let n = 0; n < count; n++) {
      const socket = connect({
        port: ports[n % ports.length]!,
        host: '127.0.0.1',
        localAddress: '127.0.0.3',
      });
      socket.on('error', () => {});
      socket.on('close', () => ended++);
      sockets.push(socket.resume());
      if (n % 100 === 99) await sleep(10);
    }
    await sleep(seconds * 1_000);
    const kept = count - ended;
    for (const socket of sockets) socket.destroy();
    return `${count} connects, ${kept} open at the end`;
  },

  async connects({ port, edges, count }) {
    let refused = 0;
    const turns = Array.from({ length: count }, (_, n) => edges[n % edges.length]!);
    await inParallel(turns, 16, async (edge) => {
      try {
        const socket = await openSocket(port, { pem: edge.ca }, edge);
        const closed = once(socket, 'close');
        socket.close(1000);
        await closed;
      } catch {
        refused++;
      }
    });
    return `${count} connects, ${refused} refused`;
  },

  async largest({ port, edge: { node, ...credentials }, shape, times }) {
    const content = LARGEST_SHAPES.find(({ what }) => what === shape)!.make(LARGEST_BYTES);
    const route = '{"source":"edged","operation":"update","resource":"a/b"}';
    const frame = Buffer.from(
      `{"header":{"msg_id":"h","timestamp":1},"route":${route},"content":${content}}`,
    );
    const headers = { node_id: node, project_id: PROJECT, ConnectionUse: 'msg' };
    const url = `wss://127.0.0.1:${port}/${PROJECT}/${node}/events`;
    const socket = new WebSocket(url, { ...credentials, headers, perMessageDeflate: false });
    const closed = new Promise<number>((resolve) => socket.on('close', resolve));
    socket.on('error', () => {});
    socket.on('open', async () => {
      for (let n = 0; n < times && socket.readyState === socket.OPEN; n++)
        await new Promise<void>((resolve) => socket.send(frame, { binary: false }, () => resolve()));
      socket.close(1000);
    });
    return `${times} of 16 MB, closed with ${await closed}`;
  },

  async slowReaders({ port, edges, seconds }) {
    const sockets = await Promise.all(edges.map(({ node, ...edge }) => rawWebSocket(port, node, edge)));
    for (const socket of sockets) socket.pause();
    process.send!('ready');
    await sleep(seconds * 1_000);
    for (const socket of sockets) socket.destroy();
    return `${sockets.length} nodes that do not read`;
  },

  async forge({ port, ...rate }) {
    const senders: UdpSocket[] = [];
    for (let n = 0; n < FORGED_SENDERS; n++) {
      const socket = createSocket('udp4');
      await new Promise<void>((resolve) => socket.bind(0, `127.2.${n >> 8}.${n & 0xff}`, resolve));
      socket.on('error', () => {});
      senders.push(socket);
    }
    process.send!('ready');
    const sent = await atRate(rate, (n) =>
      senders[n % FORGED_SENDERS]!.send(firstDatagram(), port, '127.0.0.1'),
    );
    for (const socket of senders) socket.close();
    return `${sent} forged first datagrams`;
  },
};

/** Calls `one` so many times a second, as far as this machine can. @returns how often it did */
async function atRate({ perSecond, seconds }: Rate, one: (n: number) => void): Promise<number> {
  const start = performance.now();
  for (let n = 0; ; ) {
    const elapsed = (performance.now() - start) / 1_000;
    if (elapsed >= seconds) return n;
    const due = Math.min(Math.floor(elapsed * perSecond), n + 500);
    while (n < due) one(n++);
    await sleep(2);
  }
}

/** An Initial of QUIC version 1 (RFC 9000 §17.2.2) with connection ids of its own, and noise in it. */
function firstDatagram(): Buffer {
  const datagram = randomBytes(1_200);
  datagram[0] = 0xc3;
  datagram.writeUInt32BE(1, 1);
  datagram[5] = 8;
  datagram[14] = 8;
  // No token, and the length of the rest.
  datagram[23] = 0;
  datagram.writeUInt16BE(0x4000 | (1_200 - 26), 24);
  return datagram;
}

process.once('message', async <N extends OrderName>({ name, order }: { name: N; order: Orders[N] }) => {
  const saw = await DEEDS[name](order).catch((error: Error) => `failed: ${error.message}`);
  process.send!({ saw }, () => process.exit(0));
});
process.once('disconnect', () => process.exit(0));
