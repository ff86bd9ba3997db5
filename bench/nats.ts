import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { jetstream } from '@nats-io/jetstream';
import { connect, createInbox, headers, type NatsConnection } from '@nats-io/transport-node';
import type { WebSocket } from 'ws';
import type { AdminClient } from '../src/cli/admin/admin-client.ts';
import { eventually } from '../test/support/eventually.ts';
import type { NatsServer } from '../test/support/fleets/nats-server.ts';
import { mintEdge } from '../test/support/pki/pki.ts';
import { inParallel, mintEdges, openSocket } from './lib/edges.ts';
import { NatsRig } from './lib/nats-rig.ts';
import { cpuSeconds, percentile } from './lib/process-usage.ts';
import { adminOf, type BenchGateway, startBenchGateway } from './lib/servers.ts';

const MESSAGES = 4_000;
const WIDTH = 32;
/** Messages of one request at the batch endpoint, and requests at once. */
const BATCH = 100;
const BATCHES = 2;
const ONE_BY_ONE = 400;

/**
 * A message through two replicas and back, against the same client library and nats-server with nothing
 * around: CPU per message of everything between the ends, and latency one by one.
 */
export async function benchNats(): Promise<void> {
  await using rig = await NatsRig.start();
  await benchMessage(rig);
}

interface Way {
  readonly name: string;
  /** Of what is between the ends, and of what does the same in the bare case. */
  readonly pids: readonly number[];
  readonly barePids: readonly number[];
  /** Many messages a request: what a request takes says nothing about one message. */
  readonly isBatched?: true;
  /** Sends `count`, `width` at once. @returns milliseconds each message or request took */
  run(count: number, width: number): Promise<readonly number[]>;
}

async function benchMessage({ nats, a, b }: NatsRig): Promise<void> {
  const [edge] = mintEdges(a.ca, 1);
  const socket = await openSocket(b.ports.websocket, a.ca, edge!);
  acknowledgeAll(socket);
  const client = await connect({ servers: nats.url });
  const echo = await startBare(nats, 'echo');
  const sender = await startBare(nats, 'send');
  const post = poster(a);
  await using alone = await startAlone(edge!.node);
  await eventually('a message gets through', () =>
    post.one(edge!.node).then(
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
      run: (count, width) => timed(count, width, () => post.one(edge!.node)),
    },
    {
      name: `HTTP, ${BATCH} a request, A → B → edge`,
      pids: [a.pid, b.pid, nats.pid!],
      barePids: bare,
      isBatched: true,
      run: (count, width) => timedBatches(count, width, (size) => post.many(edge!.node, size)),
    },
    {
      // What of the lines above is HTTP, WebSocket and acknowledgement, and not NATS.
      name: 'HTTP at one gateway, no NATS',
      pids: [alone.gateway.pid],
      barePids: bare,
      run: (count, width) => timed(count, width, () => alone.post.one(edge!.node)),
    },
    {
      name: `HTTP, ${BATCH} a request, one gateway`,
      pids: [alone.gateway.pid],
      barePids: bare,
      isBatched: true,
      run: (count, width) => timedBatches(count, width, (size) => alone.post.many(edge!.node, size)),
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
  for (const { name, pids, barePids, isBatched, run } of ways) {
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
    const added = `   added p50 ${(p50 - bareP50).toFixed(2)} ms, p99 ${(p99 - bareP99).toFixed(2)} ms (aim < 5)`;
    console.log(
      `${name.padEnd(34)} CPU ${cpu.toFixed(0)} µs, bare ${bareSum.toFixed(0)} µs, ratio ${(cpu / bareSum).toFixed(2)} (aim ≤ 2)   p50 ${p50.toFixed(2)} ms   p99 ${p99.toFixed(2)} ms${isBatched ? ' a request' : added}\n  of which ${costs.map(([pid, cost]) => `${parts.get(pid)} ${cost.toFixed(0)} µs`).join(', ')}`,
    );
  }
  follower.stop();
  socket.terminate();
  alone.socket.terminate();
  for (const child of [echo, sender]) child.kill();
  await client.close();
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

/** One by one means here: one batch at a time. */
function timedBatches(
  count: number,
  width: number,
  send: (size: number) => Promise<void>,
): Promise<number[]> {
  return timed(Math.ceil(count / BATCH), Math.min(width, BATCHES), () => send(BATCH));
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

/** A cloud program that posts over connections that stay open, and waits for each acknowledgement. */
function poster(gateway: BenchGateway) {
  const file = (name: string) => readFileSync(join(gateway.folder, name));
  const agent = new Agent({
    keepAlive: true,
    maxSockets: WIDTH,
    cert: file('admin.crt'),
    key: file('admin.key'),
    ca: file('ca.crt'),
  });
  const post = async (path: string, body: object): Promise<string> => {
    const call = request(`https://localhost:${gateway.ports.admin}${path}`, {
      method: 'POST',
      agent,
      headers: { 'content-type': 'application/json' },
    });
    call.end(JSON.stringify(body));
    const [response] = (await once(call, 'response')) as [IncomingMessage];
    const answer = await text(response);
    if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${answer}`);
    return answer;
  };
  const message = () => {
    const { source: _, group: __, ...rest } = route();
    return { ...rest, content: 'x'.repeat(80), wait: 'ack' };
  };
  return {
    one: async (node: string): Promise<void> => {
      await post(`/api/v1/nodes/${node}/messages`, message());
    },
    many: async (node: string, size: number): Promise<void> => {
      const items = Array.from({ length: size }, () => ({ ...message(), node }));
      const answer = JSON.parse(await post('/api/v1/messages', { items })) as { items: { kind: string }[] };
      const failed = answer.items.find(({ kind }) => kind !== 'acknowledged');
      if (failed) throw new Error(`one of the batch: ${JSON.stringify(failed)}`);
    },
  };
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
