import { inParallel, mintEdges, openSocket } from './lib/edges.ts';
import { cpuSeconds, median } from './lib/process-usage.ts';
import { startBareServer, startBenchGateway } from './lib/servers.ts';

const NODES = 1_000;
const ROUNDS = 3;

/**
 * CPU of the server per connect: mutual TLS and the WebSocket upgrade, never resumed. Aim: at most 1.15 ×
 * bare.
 */
export async function benchConnects(): Promise<void> {
  await using gateway = await startBenchGateway();
  await using bare = await startBareServer(gateway);
  const edges = await mintEdges(gateway.ca, NODES);
  const sides = [
    { pid: bare.pid, port: bare.port, costs: [] as number[] },
    { pid: gateway.pid, port: gateway.ports.websocket, costs: [] as number[] },
  ];
  for (let round = 0; round <= ROUNDS; round++) {
    for (const side of sides) {
      const before = cpuSeconds(side.pid);
      const sockets = await inParallel(edges, 8, (edge) => openSocket(side.port, gateway.ca, edge));
      const cost = ((cpuSeconds(side.pid) - before) / NODES) * 1e3;
      // The first round warms up.
      if (round > 0) side.costs.push(cost);
      await Promise.all(
        sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve).close())),
      );
    }
  }
  const [bareCost, gatewayCost] = sides.map((side) => median(side.costs)) as [number, number];
  console.log(
    `connect            CPU   bare ${bareCost.toFixed(2)} ms   gateway ${gatewayCost.toFixed(2)} ms   ratio ${(gatewayCost / bareCost).toFixed(2)}   (aim ≤ 1.15)`,
  );
}
