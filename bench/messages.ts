import type { WebSocket } from 'ws';
import { inParallel, mintEdges, openSocket, statusMessage } from './lib/edges.ts';
import { cpuSeconds, median } from './lib/process-usage.ts';
import { startBareServer, startBenchGateway } from './lib/servers.ts';

const CONNECTIONS = 200;
const ROUNDS = 5;
const PER_ROUND = 100_000;

/** CPU of the server per upstream message of 256 bytes over 200 connections. Aim: at most 1.4 × bare. */
export async function benchMessages(): Promise<void> {
  await using gateway = await startBenchGateway();
  await using bare = await startBareServer(gateway);
  const edges = await mintEdges(gateway.ca, CONNECTIONS);
  const connect = (port: number) => inParallel(edges, 16, (edge) => openSocket(port, gateway.ca, edge));
  const sides = [
    { name: 'bare', pid: bare.pid, sockets: await connect(bare.port), costs: [] as number[] },
    {
      name: 'gateway',
      pid: gateway.pid,
      sockets: await connect(gateway.ports.websocket),
      costs: [] as number[],
    },
  ];
  for (const side of sides) await sendAll(side.sockets, PER_ROUND / 2);
  for (let round = 0; round < ROUNDS; round++) {
    for (const side of sides) {
      const before = cpuSeconds(side.pid);
      await sendAll(side.sockets, PER_ROUND);
      side.costs.push(((cpuSeconds(side.pid) - before) / PER_ROUND) * 1e6);
    }
  }
  const [bareCost, gatewayCost] = sides.map((side) => median(side.costs)) as [number, number];
  console.log(
    `upstream message   CPU   bare ${bareCost.toFixed(1)} µs   gateway ${gatewayCost.toFixed(1)} µs   ratio ${(gatewayCost / bareCost).toFixed(2)}   (aim ≤ 1.40)`,
  );
  for (const { sockets } of sides) for (const socket of sockets) socket.terminate();
}

/**
 * Sends and waits until the server has handled all: the last message of each connection asks for an answer.
 */
async function sendAll(sockets: readonly WebSocket[], count: number): Promise<void> {
  const each = count / sockets.length;
  await Promise.all(
    sockets.map(async (socket) => {
      for (let index = 0; index < each - 1; index++) {
        socket.send(statusMessage(index));
        if (socket.bufferedAmount > 64 * 1024) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      const answered = new Promise<void>((resolve) => socket.once('message', () => resolve()));
      socket.send(statusMessage(each).replace('"timestamp"', '"sync":true,"timestamp"'));
      await answered;
    }),
  );
}
