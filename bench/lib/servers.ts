import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'yaml';
import { AdminClient } from '../../src/cli/admin/admin-client.ts';
import { type Pair, storedPair } from '../../test/support/pki/pki.ts';

/** A gateway in a process of its own, on free ports, with a folder of its own unless it is given one. */
export interface BenchGateway extends AsyncDisposable {
  readonly pid: number;
  readonly folder: string;
  readonly ports: Readonly<Record<'https' | 'websocket' | 'admin' | 'quic', number>>;
  /** Its CA with the key, to mint edges without asking it. */
  readonly ca: Pair;
  readonly hub: { readonly cert: string; readonly key: string };
}

export async function startBenchGateway(
  settings: Readonly<Record<string, string>> = {},
): Promise<BenchGateway> {
  const given = settings['secretStore.path'];
  const folder = given ?? mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  const all: Record<string, string> = {
    'https.port': '0',
    'websocket.port': '0',
    'quic.enabled': 'false',
    'admin.port': '0',
    'quic.port': '0',
    'secretStore.path': folder,
    'log.level': 'error',
    'limits.connections': '30000',
    'limits.connectionsPerIp': '30000',
    ...settings,
  };
  const flags = Object.entries(all).flatMap(([path, value]) => ['--set', `${path}=${value}`]);
  const child = spawn(
    process.execPath,
    [...(process.env.BENCH_NODE_ARGS?.split(' ') ?? []), 'src/main.ts', 'serve', '--print-ready', ...flags],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const ready = JSON.parse(await firstLine(child)) as Record<string, string>;
  const port = (name: string) =>
    Number(
      String(ready[name] ?? '')
        .split(':')
        .at(-1),
    );
  const ca = readPair(folder, 'casecret', 'cadata', 'cakeydata');
  const hub = readPair(folder, 'cloudcoresecret', 'cloudcoredata', 'cloudcorekeydata');
  return {
    pid: child.pid!,
    folder,
    ca,
    hub: { cert: hub.pem, key: hub.key },
    ports: { https: port('https'), websocket: port('websocket'), admin: port('admin'), quic: port('quic') },
    [Symbol.asyncDispose]: async () => {
      await stop(child);
      if (given === undefined) rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The administrator of the folder of `owner`, at `gateway`. */
export function adminOf(owner: BenchGateway, gateway: BenchGateway): AdminClient {
  const file = (name: string) => join(owner.folder, name);
  return new AdminClient({
    address: `localhost:${gateway.ports.admin}`,
    cert: file('admin.crt'),
    key: file('admin.key'),
    ca: file('ca.crt'),
  });
}

/** Is compared with a gateway, or stands behind it: a process that is given CERT KEY CA; prints its port. */
export interface BenchPeer extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
}

/** Started with the gateway's own certificate, so that the cryptography is the same. */
export async function startPeer(gateway: BenchGateway, ...command: readonly string[]): Promise<BenchPeer> {
  const folder = mkdtempSync(join(gateway.folder, 'peer-'));
  const paths = [
    writeSecret(folder, 'hub.crt', gateway.hub.cert),
    writeSecret(folder, 'hub.key', gateway.hub.key),
    writeSecret(folder, 'ca.crt', gateway.ca.pem),
  ];
  const child = spawn(command[0]!, [...command.slice(1), ...paths], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = Number(await firstLine(child));
  return { pid: child.pid!, port, [Symbol.asyncDispose]: () => stop(child) };
}

/**
 * A CloudCore that answers each question at once. @param port where the gateways look for it: they start
 * first
 */
export const startAnsweringCloud = (gateway: BenchGateway, port: number): Promise<BenchPeer> =>
  startPeer(gateway, process.execPath, 'bench/lib/answering-cloud.ts', String(port));

export const startBareServer = (gateway: BenchGateway): Promise<BenchPeer> =>
  startPeer(gateway, process.execPath, 'bench/lib/bare-server.ts');

/** @returns where it is */
export function writeSecret(folder: string, name: string, text: string): string {
  writeFileSync(join(folder, name), text, { mode: 0o600 });
  return join(folder, name);
}

export function readPair(folder: string, secret: string, certKey: string, keyKey: string): Pair {
  const { data } = parse(readFileSync(join(folder, `${secret}.yaml`), 'utf8')) as {
    data: Record<string, string>;
  };
  const bytes = (name: string) => Buffer.from(data[name]!, 'base64');
  return storedPair(bytes(certKey), bytes(keyKey));
}

async function firstLine(child: ChildProcess): Promise<string> {
  const lines = createInterface({ input: child.stdout! });
  const [line] = (await Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error('the server did not start'))),
  ])) as [string];
  return line;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}
