import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { freePort } from '../test/support/free-port.ts';
import { mintEdges, openSocket, statusMessage } from './lib/edges.ts';
import { buildGoPeers } from './lib/go-peers.ts';
import { NatsRig } from './lib/nats-rig.ts';
import { cpuSeconds, percentile } from './lib/process-usage.ts';
import { adminOf, startAnsweringCloud, writeSecret } from './lib/servers.ts';

/** Fewer for a quick look: `RETURN_NODES=500 npm run bench -- reconnect`. */
const NODES = Number(process.env.RETURN_NODES ?? 5_000);
const NAME = 'back';
const GOOD_CLIENTS = 8;
/** Between the answer to a good client and its next message, milliseconds. */
const PAUSE_MS = 50;
/** Of one request to the batch endpoint. */
const BATCH = 1_000;
/** Less than the client of the command line waits for an answer. */
const ACK_MS = 8_000;

/**
 * A gateway dies with its nodes on it, and they all come to the other one, with full handshakes: how long
 * until the last has an answer to its first message, and what the nodes notice that were there before. With
 * the hub, and with a CloudCore behind it that answers. Aims: 20 s, 500 ms.
 */
export async function benchReconnect(): Promise<void> {
  for (const kind of ['hub', 'relay'] as const) await benchReturn(kind);
}

async function benchReturn(kind: 'hub' | 'relay'): Promise<void> {
  const peers = buildGoPeers();
  if (!peers) {
    console.log('reconnect: Go is missing, which builds the edges');
    return;
  }
  const upstream = await freePort();
  const settings = { 'upstream.kind': 'cloudcore', 'upstream.addresses': `127.0.0.1:${upstream}` };
  await using rig = await NatsRig.start(kind === 'relay' ? settings : {});
  const { nats, a, b } = rig;
  await using cloud = kind === 'relay' ? await startAnsweringCloud(a, upstream) : undefined;
  const good = await startGoodClients(rig, { sync: kind === 'hub' });
  const ca = writeSecret(a.folder, 'bench-ca.pem', `${a.ca.pem}${a.ca.key}`);
  const options = {
    what: 'return',
    nodes: NODES,
    prefix: NAME,
    ca,
    asked: kind === 'hub' ? ',"sync":true' : '',
  };
  const flags = Object.entries({ ...options, port: a.ports.websocket, to: b.ports.websocket });
  const load = spawn(
    peers.load,
    flags.map(([name, value]) => `-${name}=${value}`),
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const lines = createInterface({ input: load.stdout })[Symbol.asyncIterator]();
  const line = async () => {
    const { done, value } = await lines.next();
    if (done) throw new Error('the edges ended');
    return value;
  };
  await line();
  const parts = { replica: b.pid, 'nats-server': nats.pid!, ...(cloud ? { CloudCore: cloud.pid } : {}) };
  const before = Object.values(parts).map(cpuSeconds);
  const latencies = good.during();
  const began = performance.now();
  process.kill(a.pid, 'SIGKILL');
  load.stdin.write('it is dead\n');
  const seconds = Number(await line());
  const noticed = latencies();
  const costs = Object.entries(parts).map(
    ([name, pid], at) => `${name} ${(((cpuSeconds(pid) - before[at]!) * 1e3) / NODES).toFixed(2)} ms`,
  );
  const acknowledged = await reachAll(rig);
  const reached = (performance.now() - began) / 1_000;
  console.log(
    `reconnect ${kind.padEnd(6)} ${NODES} nodes   all back and answered ${seconds.toFixed(1)} s (aim ≤ 20 s)   each reached by a message, ${acknowledged} acknowledged, ${reached.toFixed(1)} s   CPU a node: ${costs.join(', ')}   good clients p50 ${percentile(noticed, 0.5).toFixed(0)} ms, p99 ${percentile(noticed, 0.99).toFixed(0)} ms of ${noticed.length} (aim p99 < 500 ms)`,
  );
  good.stop();
  load.stdin.end();
  await once(load, 'exit');
}

/** Nodes that were at the other gateway already. Each asks, and asks again when it was answered. */
async function startGoodClients({ a, b }: NatsRig, { sync }: { readonly sync: boolean }) {
  const edges = mintEdges(a.ca, GOOD_CLIENTS);
  const sockets = await Promise.all(edges.map((edge) => openSocket(b.ports.websocket, a.ca, edge)));
  let into: number[] = [];
  let stopped = false;
  const talk = async (socket: WebSocket, at: number) => {
    for (let count = at; !stopped; count += GOOD_CLIENTS) {
      const asked = performance.now();
      const said = statusMessage(count);
      const answered = once(socket, 'message');
      socket.send(sync ? said.replace('"timestamp"', '"sync":true,"timestamp"') : said);
      await answered;
      into.push(performance.now() - asked);
      await sleep(PAUSE_MS);
    }
  };
  const talking = sockets.map(talk);
  return {
    /** Begins to measure. @returns what ends it, and tells how long each answer took, milliseconds */
    during: () => {
      const mine: number[] = [];
      into = mine;
      return () => {
        into = [];
        return mine;
      };
    },
    stop: () => {
      stopped = true;
      void Promise.all(talking).then(() => sockets.forEach((socket) => void socket.terminate()));
    },
  };
}

/** Sends each node a message. @returns how many acknowledged it */
async function reachAll({ a, b }: NatsRig): Promise<number> {
  const admin = adminOf(a, b);
  let acknowledged = 0;
  for (let first = 0; first < NODES; first += BATCH) {
    const items = Array.from({ length: Math.min(BATCH, NODES - first) }, (_, index) => ({
      node: `${NAME}-${first + index}`,
      resource: 'default/bench/1',
      operation: 'update',
      content: null,
      wait: 'ack',
      timeoutMs: ACK_MS,
    }));
    const answer = await admin.post<{ items: { kind: string }[] }>('/api/v1/messages', { items });
    acknowledged += answer.items.filter(({ kind }) => kind === 'acknowledged').length;
  }
  return acknowledged;
}
