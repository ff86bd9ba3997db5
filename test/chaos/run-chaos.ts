import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { readPair } from '../../bench/lib/servers.ts';
import { mintEdge } from '../support/pki/pki.ts';
import { ChaosHub, wait } from './chaos-hub.ts';
import { CloudProgram } from './cloud-program.ts';
import type { DriverAnswer, DriverEdge, DriverTask, EdgeReport } from './edge-driver.ts';
import { seededRandom } from './seeded-random.ts';

export interface ChaosOptions {
  readonly edges: number;
  /** Numbered messages in all, half of them each way. */
  readonly messages: number;
  /** Over this time they are sent, and somebody is killed again and again. */
  readonly durationMs: number;
  readonly natsServers: 1 | 3;
  readonly replicas?: number;
  /** Part of the edges that come over QUIC, 0 to 1. */
  readonly quicPart?: number;
  /** Edges' processes. */
  readonly drivers?: number;
  /** Pause between two kills, at least; at most twice as long. */
  readonly pauseMs?: number;
  readonly seed?: number;
  readonly say?: (text: string) => void;
}

/** Everything lost or doubled has to be 0. See docs/scale.md for what the words mean. */
export interface ChaosReport {
  readonly seed: number;
  readonly killedReplicas: number;
  readonly killedNats: number;
  readonly reconnects: number;
  readonly acknowledgedUp: number;
  readonly lostUp: number;
  readonly doubledUp: number;
  /** Acknowledged, and not seen by the program that followed the stream from the beginning. */
  readonly unseenUp: number;
  readonly acknowledgedDown: number;
  /** Calls over HTTP that had no answer, or could not be taken, and were made again. */
  readonly repeatedDown: number;
  readonly lostDown: number;
  readonly doubledDown: number;
  /** From the last message taken until the last was delivered. */
  readonly settledMs: number;
  /** The first few that were lost or doubled. */
  readonly examples: readonly string[];
  /** Only when something was lost or doubled. */
  readonly logs?: string;
}

/** The longest wait, after everything is up again, for what was acknowledged to arrive. */
const SETTLE_MS = 60_000;

/** Until all edges have their first connection. */
const CONNECT_MS = 60_000;

/**
 * Numbered messages both ways between many edges and the cloud, while replicas and NATS servers are killed;
 * then counts.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { edges, messages, durationMs, natsServers, replicas = 3, drivers = 1, say = () => {} } = options;
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31);
  const random = seededRandom(seed);
  await using hub = await ChaosHub.start({ replicas, natsServers, random });
  say(`${replicas} replicas on ${natsServers} nats-server, seed ${seed}`);
  const { addresses: address, prefix, servers } = hub;
  await using cloud = await CloudProgram.start({
    servers: servers.map(({ url }) => url),
    prefix,
    admin: hub.anyAdmin,
  });

  const nodes = Array.from({ length: edges }, (_, index) => `edge-${index}`);
  const messagesEach = Math.ceil(messages / 2 / edges);
  const periodMs = durationMs / messagesEach;
  const minted = await mintAll(hub, nodes, options.quicPart ?? 0.2);
  const parts = Array.from({ length: drivers }, (_, part) =>
    minted.filter((_, index) => index % drivers === part),
  );
  await using processes = await Driver.startAll(parts, {
    hub: address,
    folder: join(hub.folder, 'edges'),
    messagesEach,
    periodMs,
  });
  say(`${edges} edges connected`);

  const sentUp = processes.send();
  const sentDown = sendDown(cloud, nodes, { messagesEach, periodMs });
  const killed = await killForAWhile(hub, { durationMs, pauseMs: options.pauseMs ?? 6_000, random, say });
  await Promise.all([sentUp, sentDown]);
  say(`everything is acknowledged; waiting for what is under way`);
  const began = Date.now();
  let report = count(cloud, await processes.report());
  while (report.lostUp + report.lostDown > 0 && Date.now() - began < SETTLE_MS) {
    await wait(1_000);
    report = count(cloud, await processes.report());
  }
  const settledMs = Date.now() - began;
  say(`settled after ${settledMs} ms: ${report.lostUp} up and ${report.lostDown} down missing`);
  // What would come twice gets its time too.
  await wait(3_000);
  report = count(cloud, await processes.report(), await cloud.audit());
  const bad = report.lostUp + report.doubledUp + report.lostDown + report.doubledDown;
  return { seed, ...killed, ...report, settledMs, ...(bad > 0 ? { logs: hub.logs() } : {}) };
}

async function mintAll(hub: ChaosHub, nodes: readonly string[], quicPart: number): Promise<DriverEdge[]> {
  const ca = readPair(hub.secrets, 'casecret', 'cadata', 'cakeydata');
  const minted: DriverEdge[] = [];
  for (const [index, node] of nodes.entries()) {
    const { pem, key } = await mintEdge(ca, node);
    const transport = index < nodes.length * quicPart ? 'quic' : 'websocket';
    minted.push({ node, transport, certificate: pem, key, ca: ca.pem });
  }
  return minted;
}

async function sendDown(
  cloud: CloudProgram,
  nodes: readonly string[],
  { messagesEach, periodMs }: { messagesEach: number; periodMs: number },
): Promise<void> {
  await Promise.all(
    nodes.map(async (node, index) => {
      await wait((index / nodes.length) * periodMs);
      const pending: Promise<void>[] = [];
      for (let n = 0; n < messagesEach; n++) {
        pending.push(cloud.send(node, n));
        await wait(periodMs);
      }
      await Promise.all(pending);
    }),
  );
}

interface KillOptions {
  readonly durationMs: number;
  readonly pauseMs: number;
  readonly random: () => number;
  readonly say: (text: string) => void;
}

/**
 * A replica, a NATS server, or one of each at once, by chance; never all replicas, and of a cluster never two
 * servers.
 */
async function killForAWhile(hub: ChaosHub, { durationMs, pauseMs, random, say }: KillOptions) {
  const end = Date.now() + durationMs * 0.85;
  const below = (bound: number) => Math.floor(random() * bound);
  let [killedReplicas, killedNats] = [0, 0];
  for (let round = 0; ; round++) {
    await wait(pauseMs * (1 + random()));
    if (round >= 2 && Date.now() > end) return { killedReplicas, killedNats };
    // The first two rounds make sure that both kinds happen in a short run too.
    const what = round < 2 ? (['replica', 'nats'] as const)[round]! : pickOne(random);
    const kills: Promise<string>[] = [];
    if (what !== 'nats') {
      kills.push(hub.killReplica(below(hub.replicaCount), 500 + below(4_000)));
      killedReplicas++;
    }
    if (what !== 'replica') {
      kills.push(hub.killNats(below(hub.servers.length), 300 + below(4_000)));
      killedNats++;
    }
    say(`killed and back: ${(await Promise.all(kills)).join(' and ')}`);
  }
}

const pickOne = (random: () => number) =>
  random() < 0.45 ? 'replica' : random() < 0.6 ? 'nats' : ('both' as const);

/** `stored`: what the stream holds; without it, what the program that follows has seen so far. */
function count(
  cloud: CloudProgram,
  edges: readonly EdgeReport[],
  stored: ReadonlyMap<string, number> = cloud.seen,
) {
  const examples: string[] = [];
  const note = (what: string, keys: readonly string[]) => {
    examples.push(...keys.slice(0, 5).map((key) => `${what} ${key}`));
    return keys.length;
  };
  const up = edges.flatMap(({ node, acknowledged }) => acknowledged.map((n) => `${node}/${n}`));
  const got = new Map<string, number>();
  for (const { node, received } of edges)
    for (const n of received) got.set(`${node}/${n}`, (got.get(`${node}/${n}`) ?? 0) + 1);
  const twice = (seen: ReadonlyMap<string, number>) =>
    [...seen].filter(([, times]) => times > 1).map(([key]) => key);
  return {
    reconnects: edges.reduce((sum, { connects }) => sum + connects - 1, 0),
    acknowledgedUp: up.length,
    lostUp: note(
      'lost up',
      up.filter((key) => !stored.has(key)),
    ),
    doubledUp: note('doubled up', twice(stored)),
    // Of the program that followed all the time, through every trouble.
    unseenUp: up.filter((key) => !cloud.seen.has(key)).length,
    acknowledgedDown: cloud.acknowledged.size,
    repeatedDown: cloud.repeated,
    lostDown: note(
      'lost down',
      [...cloud.acknowledged].filter((key) => !got.has(key)),
    ),
    doubledDown: note('doubled down', twice(got)),
    examples,
  };
}

/** The processes of the edges, as one. */
class Driver implements AsyncDisposable {
  readonly #children: readonly ChildProcess[];

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  static async startAll(
    parts: readonly (readonly DriverEdge[])[],
    task: Omit<DriverTask, 'edges'>,
  ): Promise<Driver> {
    const script = new URL('./edge-driver.ts', import.meta.url).pathname;
    const driver = new Driver(parts.map(() => fork(script, { execArgv: [] })));
    for (const [index, child] of driver.#children.entries())
      child.send({ ...task, edges: parts[index]! } satisfies DriverTask);
    const late = AbortSignal.timeout(CONNECT_MS);
    await Promise.race([
      driver.#all('connected'),
      once(late, 'abort').then(() => Promise.reject(new Error('not all edges connected'))),
    ]);
    return driver;
  }

  async send(): Promise<void> {
    for (const child of this.#children) child.send('send');
    await this.#all('sent');
  }

  async report(): Promise<EdgeReport[]> {
    const answers = this.#all('report');
    for (const child of this.#children) child.send('report');
    return (await answers).flatMap((answer) => (answer.type === 'report' ? answer.edges : []));
  }

  #all(type: DriverAnswer['type']): Promise<DriverAnswer[]> {
    return Promise.all(
      this.#children.map(
        (child) =>
          new Promise<DriverAnswer>((resolve, reject) => {
            const onExit = () => reject(new Error("the edges' process has ended"));
            const onMessage = (answer: DriverAnswer) => {
              if (answer.type !== type) return;
              child.off('message', onMessage);
              child.off('exit', onExit);
              resolve(answer);
            };
            child.on('message', onMessage);
            child.on('exit', onExit);
          }),
      ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        await exited;
      }),
    );
  }
}
