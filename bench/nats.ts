import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { jetstream } from '@nats-io/jetstream';
import { connect, createInbox, headers, type NatsConnection } from '@nats-io/transport-node';
import type { WebSocket } from 'ws';
import { AdminClient } from '../src/cli/admin/admin-client.ts';
import { eventually } from '../test/support/eventually.ts';
import { type NatsServer, startNatsServer } from '../test/support/fleets/nats-server.ts';
import { mintEdge } from '../test/support/pki/pki.ts';
import { inParallel, mintEdges, openSocket } from './lib/edges.ts';
import { cpuSeconds, percentile } from './lib/process-usage.ts';
import { type BenchGateway, startBenchGateway } from './lib/servers.ts';

const MESSAGES = 4_000;
const WIDTH = 32;
const ONE_BY_ONE = 400;
const NODES = 5_000;

/**
 * A message through two replicas and back, against the same client library and nats-server with nothing
 * around: CPU per message of everything between the ends, and latency one by one.
 */
export async function benchNats(): Promise<void> {
  await using rig = await Rig.start();
  await benchMessage(rig);
}

/** 5,000 edges whose replica is killed come to the other one. */
export async function benchReconnect(): Promise<void> {
  await using rig = await Rig.start();
  await benchReturn(rig);
}

/** Two replicas on one nats-server. */
class Rig implements AsyncDisposable {
  readonly nats: NatsServer;
  readonly a: BenchGateway;
  readonly b: BenchGateway;
  readonly #stack: AsyncDisposableStack;

  private constructor({ nats, a, b }: Pick<Rig, 'nats' | 'a' | 'b'>, stack: AsyncDisposableStack) {
    this.nats = nats;
    this.a = a;
    this.b = b;
    this.#stack = stack;
  }

  static async start(): Promise<Rig> {
    await using stack = new AsyncDisposableStack();
    const nats = stack.use(await startNatsServer());
    const settings = {
      'bus.kind': 'nats',
      'bus.nats.servers': nats.url,
      'hub.replica': 'a',
      'hub.flapThreshold': '100000',
      'hub.keepaliveTimeoutMs': '600000',
    };
    const a = stack.use(await startBenchGateway(settings));
    const onSameSecrets = { ...settings, 'secretStore.path': a.folder, 'hub.replica': 'b' };
    const b = stack.use(await startBenchGateway(onSameSecrets));
    console.log(`load before the run ${loadavg()[0]!.toFixed(1)}`);
    return new Rig({ nats, a, b }, stack.move());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

interface Way {
  readonly name: string;
  /** Of what is between the ends, and of what does the same in the bare case. */
  readonly pids: readonly number[];
  readonly barePids: readonly number[];
  /** Sends `count`, `width` at once. @returns milliseconds each took */
  run(count: number, width: number): Promise<readonly number[]>;
}

async function benchMessage({ nats, a, b }: Rig): Promise<void> {
  const [edge] = mintEdges(a.ca, 1);
  const socket = await openSocket(b.ports.websocket, a.ca, edge!);
  acknowledgeAll(socket);
  const client = await connect({ servers: nats.url });
  const echo = await startBare(nats, 'echo');
  const sender = await startBare(nats, 'send');
  const post = poster(a);
  await using alone = await startAlone(edge!.node);
  await eventually('a message gets through', () =>
    post(edge!.node).then(
      () => true,
      () => false,
    ),
  );

  const follower = new Follower(adminOf(a, a));
  await eventually('what the edge says is heard', () => follower.heardWithin(socket, 1_000));
  const bare = [echo.pid!, sender.pid!, nats.pid!];
  const ways: readonly Way[] = [
    {
      // JetStream publish with its confirmation, an ordered consumer, and an answer over core NATS.
      name: 'bare JetStream',
      pids: bare,
      barePids: bare,
      run: async (count, width) => {
        const answer = once(sender, 'message') as Promise<[number[]]>;
        sender.send({ count, width });
        return (await answer)[0];
      },
    },
    {
      name: 'NATS program → B → edge and back',
      // The program that sends is no part of either.
      pids: [b.pid, nats.pid!],
      barePids: [echo.pid!, nats.pid!],
      run: (count, width) => timed(count, width, () => sendOverNats(client, edge!.node)),
    },
    {
      name: 'HTTP at A → B → edge and back',
      pids: [a.pid, b.pid, nats.pid!],
      barePids: bare,
      run: (count, width) => timed(count, width, () => post(edge!.node)),
    },
    {
      // What of the line above is HTTP, WebSocket and acknowledgement, and not NATS.
      name: 'HTTP at one gateway, no NATS',
      pids: [alone.gateway.pid],
      barePids: bare,
      run: (count, width) => timed(count, width, () => alone.post(edge!.node)),
    },
    {
      name: 'edge → B → event stream of A',
      pids: [a.pid, b.pid, nats.pid!],
      barePids: bare,
      run: (count, width) => timed(count, width, () => follower.sendUp(socket)),
    },
  ];
  const parts = new Map([
    [a.pid, 'A'],
    [b.pid, 'B'],
    [alone.gateway.pid, 'gateway'],
    [nats.pid!, 'nats-server'],
    [echo.pid!, 'echo'],
    [sender.pid!, 'sender'],
  ]);
  const bareCpu = new Map<number, number>();
  let [bareP50, bareP99] = [0, 0];
  for (const { name, pids, barePids, run } of ways) {
    await run(MESSAGES / 2, WIDTH);
    const one = await run(ONE_BY_ONE, 1);
    const before = new Map(pids.map((pid) => [pid, cpuSeconds(pid)]));
    await run(MESSAGES, WIDTH);
    const costs = pids.map((pid) => [pid, ((cpuSeconds(pid) - before.get(pid)!) / MESSAGES) * 1e6] as const);
    const [p50, p99] = [percentile(one, 0.5), percentile(one, 0.99)];
    if (bareCpu.size === 0) {
      for (const [pid, cost] of costs) bareCpu.set(pid, cost);
      [bareP50, bareP99] = [p50, p99];
    }
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
    const cpu = sum(costs.map(([, cost]) => cost));
    const bareSum = sum(barePids.map((pid) => bareCpu.get(pid)!));
    console.log(
      `${name.padEnd(34)} CPU ${cpu.toFixed(0)} µs, bare ${bareSum.toFixed(0)} µs, ratio ${(cpu / bareSum).toFixed(2)} (aim ≤ 2)   p50 ${p50.toFixed(2)} ms   p99 ${p99.toFixed(2)} ms   added p50 ${(p50 - bareP50).toFixed(2)} ms, p99 ${(p99 - bareP99).toFixed(2)} ms (aim < 5)\n  of which ${costs.map(([pid, cost]) => `${parts.get(pid)} ${cost.toFixed(0)} µs`).join(', ')}`,
    );
  }
  follower.stop();
  socket.terminate();
  alone.socket.terminate();
  for (const child of [echo, sender]) child.kill();
  await client.close();
}

/**
 * Real WebSockets with full handshakes: what the edges cost is in the time, not in the CPU of the replica.
 */
async function benchReturn({ nats, a, b }: Rig): Promise<void> {
  const admin = adminOf(a, b);
  const edges = mintEdges(a.ca, NODES);
  const connectAll = (port: number) => inParallel(edges, 16, (edge) => openSocket(port, a.ca, edge));
  const first = await connectAll(a.ports.websocket);
  const began = performance.now();
  const [cpu, natsCpu] = [cpuSeconds(b.pid), cpuSeconds(nats.pid!)];
  process.kill(a.pid, 'SIGKILL');
  const second = await connectAll(b.ports.websocket);
  const connectedMs = performance.now() - began;
  // Owned: a message for each gets through at once. The last that came is the last that is claimed.
  acknowledgeAll(second.at(-1)!);
  await eventually('the last one gets its message', () =>
    admin
      .post<{ kind: string }>(`/api/v1/nodes/${edges.at(-1)!.node}/messages`, {
        resource: 'default/bench/1',
        operation: 'update',
        content: null,
        wait: 'ack',
        timeoutMs: 5_000,
      })
      .then(
        ({ kind }) => kind === 'acknowledged',
        () => false,
      ),
  );
  const ownedMs = performance.now() - began;
  const each = (seconds: number) => ((seconds * 1e6) / NODES).toFixed(0);
  console.log(
    `${NODES} edges from a killed replica to the other   connected ${(connectedMs / 1000).toFixed(1)} s   all owned and reachable ${(ownedMs / 1000).toFixed(1)} s   CPU a node: replica ${each(cpuSeconds(b.pid) - cpu)} µs, nats-server ${each(cpuSeconds(nats.pid!) - natsCpu)} µs`,
  );
  for (const socket of [...first, ...second]) socket.terminate();
}

async function startBare(nats: NatsServer, role: 'echo' | 'send'): Promise<ChildProcess> {
  const child = fork(new URL('./lib/bare-nats.ts', import.meta.url).pathname, [nats.url, role], {
    execArgv: [],
  });
  await once(child, 'message');
  return child;
}

/** A gateway of its own with the local bus, and an edge of that name on it. */
async function startAlone(node: string) {
  const gateway = await startBenchGateway({ 'hub.keepaliveTimeoutMs': '600000' });
  const { pem, key } = await mintEdge(gateway.ca, node);
  const socket = await openSocket(gateway.ports.websocket, gateway.ca, { node, cert: pem, key });
  acknowledgeAll(socket);
  return {
    gateway,
    socket,
    post: poster(gateway),
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  };
}

async function timed(count: number, width: number, send: () => Promise<void>): Promise<number[]> {
  return inParallel(Array.from({ length: count }), width, async () => {
    const began = performance.now();
    await send();
    return performance.now() - began;
  });
}

let versions = 0;
const route = () => ({
  source: 'edgecontroller',
  group: 'resource',
  operation: 'update',
  resource: `default/bench/${versions++}`,
});

async function sendOverNats(client: NatsConnection, node: string): Promise<void> {
  const inbox = createInbox();
  const outcome = client.subscribe(inbox, { max: 1 });
  const sent = headers();
  sent.set('Sallyport-Outcome-To', inbox);
  const id = crypto.randomUUID();
  const message = { header: { msg_id: id, timestamp: Date.now() }, route: route(), content: 'x'.repeat(80) };
  const options = { headers: sent, msgID: `${node}:${id}` };
  await jetstream(client).publish(`sallyport.down.${node}`, JSON.stringify(message), options);
  for await (const _ of outcome) break;
}

/** Over connections that stay open, as a cloud program would. */
function poster(gateway: BenchGateway): (node: string) => Promise<void> {
  const file = (name: string) => readFileSync(join(gateway.folder, name));
  const agent = new Agent({
    keepAlive: true,
    maxSockets: WIDTH,
    cert: file('admin.crt'),
    key: file('admin.key'),
    ca: file('ca.crt'),
  });
  const { resource: _, group: __, source: ___, ...rest } = route();
  return (node) =>
    new Promise((resolve, reject) => {
      const { resource } = route();
      const body = JSON.stringify({ ...rest, resource, content: 'x'.repeat(80), wait: 'ack' });
      const call = request(
        `https://localhost:${gateway.ports.admin}/api/v1/nodes/${node}/messages`,
        { method: 'POST', agent, headers: { 'content-type': 'application/json' } },
        (response) => {
          response.resume();
          response.once('end', () =>
            response.statusCode === 200 ? resolve() : reject(new Error(`status ${response.statusCode}`)),
          );
        },
      );
      call.once('error', reject);
      call.end(body);
    });
}

function acknowledgeAll(socket: WebSocket): void {
  socket.on('message', (data) => {
    const { header, route: asked } = JSON.parse(String(data)) as {
      header: { msg_id: string };
      route: object;
    };
    if (!('operation' in asked) || asked.operation === 'response') return;
    const answer = {
      header: { msg_id: crypto.randomUUID(), parent_msg_id: header.msg_id, timestamp: Date.now() },
      route: { ...asked, operation: 'response' },
      content: 'OK',
    };
    socket.send(`${JSON.stringify(answer)}\n`);
  });
}

/** The administrator of the folder of `owner`, at `gateway`. */
function adminOf(owner: BenchGateway, gateway: BenchGateway): AdminClient {
  const file = (name: string) => join(owner.folder, name);
  return new AdminClient({
    address: `localhost:${gateway.ports.admin}`,
    cert: file('admin.crt'),
    key: file('admin.key'),
    ca: file('ca.crt'),
  });
}

/** A cloud program that follows the event stream over HTTP. */
class Follower {
  readonly #awaited = new Map<string, () => void>();
  readonly #stop = new AbortController();

  constructor(admin: AdminClient) {
    void this.#follow(admin).catch(() => {});
  }

  /** Resolves when the message of the edge has arrived here. */
  sendUp(socket: WebSocket): Promise<void> {
    const id = crypto.randomUUID();
    const arrived = new Promise<void>((resolve) => this.#awaited.set(id, resolve));
    const said = { source: 'edged', group: 'resource', operation: 'update', resource: 'default/podstatus/p' };
    const message = { header: { msg_id: id, timestamp: Date.now(), sync: true }, route: said };
    socket.send(`${JSON.stringify({ ...message, content: 'x'.repeat(80) })}\n`);
    return arrived;
  }

  async heardWithin(socket: WebSocket, ms: number): Promise<boolean> {
    const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), ms));
    return Promise.race([this.sendUp(socket).then(() => true), late]);
  }

  stop(): void {
    this.#stop.abort();
  }

  async #follow(admin: AdminClient): Promise<void> {
    for await (const { data } of admin.events('/api/v1/events?type=message', { signal: this.#stop.signal })) {
      const { msg_id: id } = (data as { message: { header: { msg_id: string } } }).message.header;
      this.#awaited.get(id)?.();
      this.#awaited.delete(id);
    }
  }
}
