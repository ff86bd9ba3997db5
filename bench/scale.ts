/**
 * How the hub grows: sessions without sockets on real replicas (bus and ownership) and a real nats-server, at
 * 1,000, 5,000 and 20,000 nodes, and what follows from it for 100,000 nodes on 5 replicas. Writes the figures
 * into docs/scale.md and the curves into docs/scale.svg. `npm run scale`; `npm run scale -- --dry` writes
 * nothing.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { startNatsServer } from '../test/support/fleets/nats-server.ts';
import { freePort } from '../test/support/free-port.ts';
import { cpuSeconds, residentKb } from './lib/process-usage.ts';
import { drawScale } from './lib/scale-chart.ts';
import { project, type ScalePoint, tables } from './lib/scale-projection.ts';
import type { ScaleOrder, ScaleUsage } from './lib/scale-replica.ts';

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1000,5000,20000' },
    dry: { type: 'boolean', default: false },
  },
});
const SIZES = values.sizes.split(',').map(Number);
const UPSTREAM = 40_000;
const MIB = 1024 * 1024;

async function measure(nodes: number): Promise<ScalePoint> {
  const monitor = await freePort();
  await using nats = await startNatsServer({ config: `http: "127.0.0.1:${monitor}"` });
  await using busy = await Replica.start(nats.url, 'busy');
  await using idle = await Replica.start(nats.url, 'idle');
  const connection = await connect({ servers: nats.url });
  const manager = await jetstreamManager(connection);
  const infoOf = async (stream: string) => (await manager.streams.info(stream)).state;
  const subscriptions = async () => {
    const { num_subscriptions: count } = (await (
      await fetch(`http://127.0.0.1:${monitor}/subsz`)
    ).json()) as { num_subscriptions: number };
    return count;
  };
  const natsMib = () => residentKb(nats.pid!) / 1024;
  const natsMs = () => cpuSeconds(nats.pid!) * 1000;

  // A first few, so that what is compiled and allocated once is not counted with the nodes.
  await busy.order({ what: 'join', count: 1 });
  const before = {
    busy: await busy.order({ what: 'usage' }),
    idle: await idle.order({ what: 'usage' }),
    natsMib: natsMib(),
    natsMs: natsMs(),
    writes: (await infoOf('KV_sallyport-nodes')).last_seq,
    subscriptions: await subscriptions(),
  };
  const joined = await busy.order({ what: 'join', count: nodes });
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const natsJoinMs = natsMs() - before.natsMs;
  const heard = await idle.order({ what: 'usage' });
  const keys = await infoOf('KV_sallyport-nodes');
  let consumers = 0;
  for await (const stream of manager.streams.list()) consumers += stream.state.consumer_count;
  const withSessions = { subscriptions: await subscriptions(), natsMib: natsMib() };

  const beforeLeft = await busy.order({ what: 'usage' });
  const left = await idle.order({ what: 'leaveMessages', count: nodes });
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  const [sender, other] = [await idle.order({ what: 'usage' }), await busy.order({ what: 'usage' })];
  const down = await infoOf('sallyport-down');
  const offlineNatsMib = natsMib() - withSessions.natsMib;

  const beforeUp = natsMs();
  const up = await busy.order({ what: 'publish', count: UPSTREAM });
  const natsUpMs = natsMs() - beforeUp;
  await connection.close();
  return {
    nodes,
    replicaHeapMib: (joined.heapBytes - before.busy.heapBytes) / MIB,
    replicaResidentMib: joined.residentBytes / MIB,
    natsMib: withSessions.natsMib,
    subscriptions: withSessions.subscriptions - before.subscriptions,
    consumers,
    kvWrites: keys.last_seq - before.writes,
    kvBytes: keys.bytes,
    joinMs: joined.tookMs,
    joinCpuUs: (joined.cpuMs * 1000) / nodes,
    natsJoinCpuUs: (natsJoinMs * 1000) / nodes,
    foreignCpuUs: ((heard.cpuMs0 - before.idle.cpuMs0) * 1000) / nodes,
    offlineHeapBytes: (other.heapBytes - beforeLeft.heapBytes) / nodes,
    offlineSenderBytes: (sender.heapBytes - heard.heapBytes) / nodes,
    offlineStreamBytes: down.bytes / down.messages,
    offlineNatsBytes: (offlineNatsMib * MIB) / nodes,
    offlineMs: left.tookMs,
    upstreamPerSecond: (UPSTREAM / up.tookMs) * 1000,
    upstreamCpuUs: (up.cpuMs * 1000) / UPSTREAM,
    natsUpstreamCpuUs: (natsUpMs * 1000) / UPSTREAM,
  };
}

class Replica implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(server: string, name: string): Promise<Replica> {
    const script = new URL('./lib/scale-replica.ts', import.meta.url).pathname;
    const child = fork(script, [server, name], { execArgv: ['--expose-gc'] });
    await once(child, 'message');
    return new Replica(child);
  }

  /** `cpuMs0`: CPU of the process since it began. */
  async order(order: ScaleOrder): Promise<ScaleUsage & { readonly cpuMs0: number }> {
    const answer = once(this.#child, 'message') as Promise<[ScaleUsage]>;
    this.#child.send(order);
    const [usage] = await answer;
    return { ...usage, cpuMs0: cpuSeconds(this.#child.pid!) * 1000 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}

const load = loadavg()[0]!;
const points: ScalePoint[] = [];
for (const nodes of SIZES) {
  const point = await measure(nodes);
  console.log(point);
  points.push(point);
}
const text = tables(points, { load });
console.log(text);
if (!values.dry) {
  const file = new URL('../docs/scale.md', import.meta.url);
  const page = readFileSync(file, 'utf8');
  const [begin, end] = ['<!-- generated by npm run scale -->', '<!-- end of what is generated -->'];
  const [head, rest] = [page.slice(0, page.indexOf(begin)), page.slice(page.indexOf(end))];
  writeFileSync(file, `${head}${begin}\n\n${text}\n${rest}`);
  writeFileSync(new URL('../docs/scale.svg', import.meta.url), drawScale(points, project(points)));
}
process.exit(0);
