import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { freePort } from '../test/support/free-port.ts';
import { inParallel, mintEdges, openSocket } from './lib/edges.ts';
import { cpuSeconds, median, residentKb } from './lib/process-usage.ts';
import { startAnsweringCloud, startBenchGateway, startPeer } from './lib/servers.ts';

const CONNECTIONS = 100;
const ROUNDS = 7;
const QUESTIONS = 10_000;
/** Fewer for a quick look: `RELAY_NODES=500 npm run bench -- relay-sessions`. */
const NODES = Number(process.env.RELAY_NODES ?? 5_000);
const WARM_UP = Math.ceil(NODES / 10);
const SETTLE_MS = 5_000;
const LEASE_MS = 10_000;
const SLOTS_A_LEASE = 100;
const LIVE_SLOTS = 300;

/**
 * CPU of the gateway per relayed frame of about 300 bytes, beside two bare WebSockets.
 * A question and its answer are two frames. Aims: 35 µs, 1.6 × bare.
 */
export async function benchRelay(): Promise<void> {
  await using it = await startRelayed();
  const { gateway } = it;
  const forwarder = ['bench/lib/bare-forwarder.ts', `127.0.0.1:${it.port}`];
  await using bare = await startPeer(gateway, process.execPath, ...forwarder);
  const edges = mintEdges(gateway.ca, CONNECTIONS);
  const sides = [];
  for (const side of [
    { name: 'bare', pid: bare.pid, port: bare.port },
    { name: 'gateway', pid: gateway.pid, port: gateway.ports.websocket },
  ]) {
    const sockets = await inParallel(edges, 16, (edge) => openSocket(side.port, gateway.ca, edge));
    sides.push({ ...side, sockets, costs: [] as number[] });
  }
  for (const side of sides) await askAll(side.sockets, QUESTIONS);
  for (let round = 0; round < ROUNDS; round++) {
    for (const side of sides) {
      const before = cpuSeconds(side.pid);
      await askAll(side.sockets, QUESTIONS);
      side.costs.push(((cpuSeconds(side.pid) - before) / (2 * QUESTIONS)) * 1e6);
    }
  }
  const [bareCost, cost] = sides.map(({ costs }) => median(costs)) as [number, number];
  console.log(
    `relayed frame      CPU   bare ${bareCost.toFixed(1)} µs   gateway ${cost.toFixed(1)} µs   ratio ${(cost / bareCost).toFixed(2)}   (aims ≤ 35 µs, ≤ 1.60)`,
  );
  for (const { sockets } of sides) for (const socket of sockets) socket.terminate();
}

/**
 * Resident memory of a relayed session beside one without a relay, and CPU for what EdgeCores say by
 * themselves (0.3 frames/s a node up, 0.1 down), all on one process. Aims: 150 KB more; every question is
 * answered.
 */
export async function benchRelaySessions(): Promise<void> {
  await using it = await startRelayed();
  await using alone = await startBenchGateway({ 'hub.keepaliveTimeoutMs': '600000' });
  const residents = [];
  for (const gateway of [alone, it.gateway]) {
    const edges = mintEdges(gateway.ca, WARM_UP + NODES);
    const port = gateway.ports.websocket;
    const open = (some: typeof edges) => inParallel(some, 16, (edge) => openSocket(port, gateway.ca, edge));
    const first = await open(edges.slice(0, WARM_UP));
    await sleep(SETTLE_MS);
    const before = { kb: residentKb(gateway.pid), cpu: cpuSeconds(gateway.pid) };
    const sockets = await open(edges.slice(WARM_UP));
    await sleep(SETTLE_MS);
    const perConnect = ((cpuSeconds(gateway.pid) - before.cpu) / NODES) * 1e3;
    residents.push({ kb: (residentKb(gateway.pid) - before.kb) / NODES, perConnect });
    if (gateway === it.gateway) await liveAsNodes(gateway.pid, [...first, ...sockets]);
    for (const socket of [...first, ...sockets]) socket.terminate();
  }
  const [without, relayed] = residents as [(typeof residents)[0], (typeof residents)[0]];
  console.log(
    `relayed session    ${NODES} nodes   RSS without ${without.kb.toFixed(0)} KiB   with ${relayed.kb.toFixed(0)} KiB   more ${(relayed.kb - without.kb).toFixed(0)} KiB   (aim ≤ 150)   connect without ${without.perConnect.toFixed(1)} ms   with ${relayed.perConnect.toFixed(1)} ms CPU`,
  );
}

/** Each node asks about its lease every 10 s, as EdgeCore does. */
async function liveAsNodes(pid: number, sockets: readonly WebSocket[]): Promise<void> {
  let asked = 0;
  let answered = 0;
  for (const socket of sockets) socket.on('message', () => answered++);
  const before = cpuSeconds(pid);
  for (let slot = 0; slot < LIVE_SLOTS; slot++) {
    const due = performance.now() + LEASE_MS / SLOTS_A_LEASE;
    for (let at = slot % SLOTS_A_LEASE; at < sockets.length; at += SLOTS_A_LEASE)
      sockets[at]!.send(question(`${asked++}`));
    await sleep(Math.max(0, due - performance.now()));
  }
  await sleep(SETTLE_MS);
  const cpu = (cpuSeconds(pid) - before) / ((LIVE_SLOTS * LEASE_MS) / SLOTS_A_LEASE / 1_000);
  console.log(
    `relayed nodes      ${sockets.length} on one process   asked ${asked}   answered ${answered}   one core ${(cpu * 100).toFixed(0)} % busy`,
  );
  if (answered !== asked) throw new Error('a question was not answered once');
}

/** A gateway in front of a CloudCore that answers at once. */
async function startRelayed() {
  const port = await freePort();
  const gateway = await startBenchGateway({
    'upstream.kind': 'cloudcore',
    'upstream.addresses': `127.0.0.1:${port}`,
    'hub.keepaliveTimeoutMs': '600000',
  });
  const cloud = await startAnsweringCloud(gateway, port);
  return {
    gateway,
    port,
    async [Symbol.asyncDispose]() {
      await cloud[Symbol.asyncDispose]();
      await gateway[Symbol.asyncDispose]();
    },
  };
}

/** Asks in all, some at a time on each connection, and waits for every answer. */
async function askAll(sockets: readonly WebSocket[], count: number): Promise<void> {
  const each = Math.ceil(count / sockets.length);
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise<void>((resolve) => {
          let sent = 0;
          let answered = 0;
          const ask = () => socket.send(question(`${sent++}`));
          const onMessage = () => {
            if (++answered === each) {
              socket.off('message', onMessage);
              resolve();
            } else if (sent < each) ask();
          };
          socket.on('message', onMessage);
          for (let first = Math.min(8, each); first > 0; first--) ask();
        }),
    ),
  );
}

function question(id: string): string {
  const header = { msg_id: `00000000-0000-4000-8000-${id.padStart(12, '0')}`, timestamp: 1_795_466_360_546 };
  const resource = 'default/configmap/demo';
  const route = { source: 'edged', group: 'meta', operation: 'query', resource };
  return `${JSON.stringify({ header, route, content: { spec: { holderIdentity: 'x'.repeat(90) } } })}\n`;
}
