import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildGoPeers, type GoPeers } from './lib/go-peers.ts';
import { median } from './lib/process-usage.ts';
import { startBareServer, startBenchGateway, startPeer, writeSecret } from './lib/servers.ts';

/** A server that is measured, and how a program sends a message to one of its nodes. */
interface Side {
  readonly pid: number;
  readonly port: number;
  readonly api?: string;
  readonly body?: object;
}
type SideName = 'gateway' | 'go' | 'bare';
interface Question {
  readonly what: 'connect' | 'message' | 'down' | 'idle';
  readonly group?: 'X25519' | 'X25519MLKEM768';
  readonly nodes: number;
  readonly count?: number;
  /** Before those that count; each round goes round the sides. */
  readonly warmUps: number;
  readonly rounds: number;
}

const UNITS = { first: 'ms', return: 'ms', message: 'µs', down: 'µs', idle: 'KB' } as const;
type Answer = Partial<Record<keyof typeof UNITS, number>>;

/**
 * CPU of a connect, by mutual TLS with the WebSocket upgrade and never resumed: first contact of a node, and
 * return.
 */
export async function benchConnects(): Promise<void> {
  for (const group of ['X25519', 'X25519MLKEM768'] as const)
    await compare({ what: 'connect', group, nodes: 1_000, warmUps: 2, rounds: 5 });
}

/**
 * CPU of a message of 256 bytes over 200 connections, up; and down, over HTTPS and until the edge has
 * acknowledged it.
 */
export async function benchMessages(): Promise<void> {
  await compare({ what: 'message', nodes: 200, count: 100_000, warmUps: 1, rounds: 5 });
  await compare({ what: 'down', nodes: 200, count: 4_000, warmUps: 1, rounds: 3 });
}

/** Resident memory of an idle session. Another number of nodes: `IDLE_NODES=15000 npm run bench -- idle`. */
export function benchIdle(): Promise<void> {
  return compare({ what: 'idle', nodes: Number(process.env.IDLE_NODES ?? 5_500), warmUps: 0, rounds: 1 });
}

/**
 * The gateway, a hub in Go as KubeEdge has it, and the least in Node: in one run, in turns, with the same
 * certificates.
 */
async function compare(question: Question): Promise<void> {
  const peers = buildGoPeers();
  if (!peers) {
    console.log(
      `${question.what}: Go is missing, which builds the load generator and the hub to compare with`,
    );
    return;
  }
  await using gateway = await startBenchGateway({ 'hub.keepaliveTimeoutMs': '600000' });
  await using go = await startPeer(gateway, peers.hub);
  await using bare = await startBareServer(gateway);
  const route = {
    source: 'edgecontroller',
    group: 'resource',
    operation: 'update',
    resource: 'default/pod/ID',
  };
  const content = 'x'.repeat(80);
  const sides: Readonly<Record<SideName, Side>> = {
    go: {
      ...go,
      api: `https://localhost:${go.port}/nodes/NODE/messages`,
      body: { header: { msg_id: 'ID' }, route, content },
    },
    gateway: {
      pid: gateway.pid,
      port: gateway.ports.websocket,
      api: `https://localhost:${gateway.ports.admin}/api/v1/nodes/NODE/messages`,
      body: { id: 'ID', ...route, content, wait: 'ack' },
    },
    bare,
  };
  const file = (name: string) => readFileSync(join(gateway.folder, name), 'utf8');
  const files = {
    ca: writeSecret(gateway.folder, 'bench-ca.pem', `${gateway.ca.pem}${gateway.ca.key}`),
    admin: writeSecret(gateway.folder, 'bench-admin.pem', `${file('admin.crt')}\n${file('admin.key')}`),
  };
  const names = (Object.keys(sides) as SideName[]).filter(
    (name) => question.what !== 'down' || sides[name].api,
  );
  const answers: Record<SideName, Answer[]> = { gateway: [], go: [], bare: [] };
  console.log(`${question.what} ${question.group ?? ''}, load before the run ${loadavg()[0]!.toFixed(1)}`);
  for (let round = 0; round < question.warmUps + question.rounds; round++)
    for (const name of names) {
      const answer = await ask(peers, { ...question, ...files, ...sides[name], prefix: `${name}-${round}` });
      if (round >= question.warmUps) answers[name].push(answer);
    }
  print(names, answers);
}

async function ask(
  { load }: GoPeers,
  { warmUps: _, rounds: __, ...options }: Question & Side & { ca: string; admin: string; prefix: string },
): Promise<Answer> {
  const flags = Object.entries(options).flatMap(([name, value]) => [
    `-${name}`,
    typeof value === 'object' ? JSON.stringify(value) : String(value),
  ]);
  const { stdout } = await promisify(execFile)(load, flags);
  return JSON.parse(stdout) as Answer;
}

function print(names: readonly SideName[], answers: Readonly<Record<SideName, readonly Answer[]>>): void {
  for (const [key, unit] of Object.entries(UNITS) as [keyof Answer, string][]) {
    if (answers.gateway[0]?.[key] === undefined) continue;
    const middle = (name: SideName) => median(answers[name].map((answer) => answer[key]!));
    const figures = names.map((name) => {
      const all = answers[name].map((answer) => answer[key]!);
      return `${name} ${middle(name).toFixed(2)} (${Math.min(...all).toFixed(2)}–${Math.max(...all).toFixed(2)}) ${unit}`;
    });
    const ratios = names
      .filter((name) => name !== 'gateway')
      .map((name) => `${(middle('gateway') / middle(name)).toFixed(2)} × ${name}`);
    console.log(`  ${key.padEnd(8)} ${[...figures, `gateway = ${ratios.join(', ')}`].join('   ')}`);
  }
}
