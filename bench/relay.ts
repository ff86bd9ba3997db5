import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { WebSocket } from 'ws';
import { inParallel, mintEdges, openSocket } from './lib/edges.ts';
import { cpuSeconds, median, residentKb } from './lib/process-usage.ts';
import { startBenchGateway } from './lib/servers.ts';

const CONNECTIONS = 100;
const ROUNDS = 5;
const QUESTIONS = 20_000;

/**
 * CPU of the gateway per relayed frame of about 300 bytes, and resident memory per relayed session, beside
 * two bare WebSockets. A question and its answer are two frames. Aims: 35 µs, 1.6 × bare.
 */
export async function benchRelay(): Promise<void> {
  const port = await freePort();
  await using gateway = await startBenchGateway({
    'upstream.kind': 'cloudcore',
    'upstream.addresses': `127.0.0.1:${port}`,
  });
  const file = (name: string, text: string) => {
    writeFileSync(join(gateway.folder, name), text, { mode: 0o600 });
    return join(gateway.folder, name);
  };
  const cert = file('bench-hub.crt', gateway.hub.cert);
  const key = file('bench-hub.key', gateway.hub.key);
  const ca = file('bench-ca.crt', gateway.ca.pem);
  await using _cloud = await startProcess('bench/lib/answering-cloud.ts', [cert, key, String(port)]);
  const forwarder = ['bench/lib/bare-forwarder.ts', [cert, key, ca, `127.0.0.1:${port}`]] as const;
  await using bare = await startProcess(...forwarder);
  const edges = await mintEdges(gateway.ca, CONNECTIONS);
  const sides = [];
  for (const side of [
    { name: 'bare', pid: bare.pid, port: bare.port },
    { name: 'gateway', pid: gateway.pid, port: gateway.ports.websocket },
  ]) {
    const before = residentKb(side.pid);
    const sockets = await inParallel(edges, 16, (edge) => openSocket(side.port, gateway.ca, edge));
    await askAll(sockets, CONNECTIONS);
    const perSession = (residentKb(side.pid) - before) / CONNECTIONS;
    sides.push({ ...side, sockets, perSession, costs: [] as number[] });
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
  const [bareKb, kb] = sides.map(({ perSession }) => perSession) as [number, number];
  console.log(
    `relayed frame      CPU   bare ${bareCost.toFixed(1)} µs   gateway ${cost.toFixed(1)} µs   ratio ${(cost / bareCost).toFixed(2)}   (aims ≤ 35 µs, ≤ 1.60)`,
  );
  console.log(`relayed session    RSS   bare ${bareKb.toFixed(0)} KiB   gateway ${kb.toFixed(0)} KiB`);
  for (const { sockets } of sides) for (const socket of sockets) socket.terminate();
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

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function startProcess(
  script: string,
  args: readonly string[],
): Promise<{ pid: number; port: number } & AsyncDisposable> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  return {
    pid: child.pid!,
    port: Number(line),
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await once(child, 'exit');
    },
  };
}
