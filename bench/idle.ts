import { setTimeout as sleep } from 'node:timers/promises';
import { inParallel, mintEdges, openSocket } from './lib/edges.ts';
import { residentKb } from './lib/process-usage.ts';
import { startBareServer, startBenchGateway } from './lib/servers.ts';

const SESSIONS = 5_000;
const WARM_UP = 500;

/** Resident memory an idle session costs, over 5,000. Aim: at most 60 KB. */
export async function benchIdle(): Promise<void> {
  await using gateway = await startBenchGateway({ 'hub.keepaliveTimeoutMs': '600000' });
  await using bare = await startBareServer(gateway);
  const edges = await mintEdges(gateway.ca, SESSIONS + WARM_UP);
  const measure = async (pid: number, port: number) => {
    const first = await inParallel(edges.slice(0, WARM_UP), 8, (edge) => openSocket(port, gateway.ca, edge));
    await sleep(2_000);
    const before = residentKb(pid);
    const rest = await inParallel(edges.slice(WARM_UP), 8, (edge) => openSocket(port, gateway.ca, edge));
    await sleep(5_000);
    const each = (residentKb(pid) - before) / SESSIONS;
    for (const socket of [...first, ...rest]) socket.terminate();
    return each;
  };
  const bareKb = await measure(bare.pid, bare.port);
  const gatewayKb = await measure(gateway.pid, gateway.ports.websocket);
  console.log(
    `idle session  resident   bare ${bareKb.toFixed(1)} KB   gateway ${gatewayKb.toFixed(1)} KB   ratio ${(gatewayKb / bareKb).toFixed(2)}   (aim ≤ 60 KB)`,
  );
}
