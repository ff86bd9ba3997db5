import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { servedCertificate } from '../test/support/edges/serving.ts';
import { startGatewayProcess } from '../test/support/fleets/process.ts';
import { hubData, KubeFleet, portOf, putHub, storedCa } from '../test/support/kube/kube-fleet.ts';
import { LocalCluster } from '../test/support/kube/local-cluster.ts';
import { mintServer, type Pair, storedPair } from '../test/support/pki/pki.ts';
import { clusterBinaries } from '../tools/cluster-binaries.ts';
import { percentile } from './lib/process-usage.ts';
import { startBenchGateway } from './lib/servers.ts';

const SWAPS = 200;
/** Between two looks at what is served: a client that never rests would take the CPU of the swap. */
const LOOK_MS = 2;
const PATIENCE_MS = 30_000;
const QUIET_MS = 200;

/** Where the hub Secret is kept, and the replicas that serve it. */
interface Place {
  readonly name: string;
  readonly aimMs: number;
  readonly ca: Pair;
  /** WebSocket, one for each replica. */
  readonly ports: readonly number[];
  /** @returns what writes the Secret; it resolves when that is stored */
  prepare(hub: Pair): () => Promise<unknown>;
}

/**
 * Time from the beginning of the write of the hub Secret to the end of the first handshake that shows the new
 * certificate at every replica: with a folder, with two replicas on the API server of the tests, and with two
 * on a real one when it is built (`node tools/cluster-binaries.ts`).
 */
export async function benchSwap(): Promise<void> {
  for (const open of [folder, fakeApi, realApi]) {
    await using stack = new AsyncDisposableStack();
    const place = await open(stack);
    if (place === undefined) continue;
    const load = loadavg()[0]!.toFixed(1);
    const times: number[] = [];
    const alone: number[] = [];
    for (let swap = 0; swap < SWAPS; swap++) {
      times.push(await swapOnce(place));
      const start = performance.now();
      await servedCertificate(place.ports[0]!);
      alone.push(performance.now() - start);
    }
    const { name, aimMs } = place;
    const told = (some: readonly number[]) =>
      `${[50, 90, 99].map((p) => `p${p} ${percentile(some, p / 100).toFixed(0)}`).join(', ')} ms`;
    console.log(
      `swap      ${name.padEnd(34)} Secret → handshake ${told(times)} of ${SWAPS} (aim p99 ≤ ${aimMs} ms)   a handshake alone ${told(alone)}   load ${load}`,
    );
  }
}

async function swapOnce({ ca, ports, prepare }: Place): Promise<number> {
  const next = await mintServer(ca, { notAfter: new Date(Date.now() + 60 * 86_400_000) });
  const write = prepare(next);
  // What the last one left to do is no part of this one.
  await sleep(QUIET_MS);
  const start = performance.now();
  const stored = write();
  await Promise.all(
    ports.map(async (port) => {
      while ((await servedCertificate(port)).serialNumber !== next.certificate.serialNumber) {
        if (performance.now() - start > PATIENCE_MS)
          throw new Error(`the new certificate was not served within ${PATIENCE_MS} ms`);
        await sleep(LOOK_MS);
      }
    }),
  );
  const took = performance.now() - start;
  await stored;
  return took;
}

async function folder(stack: AsyncDisposableStack): Promise<Place> {
  const gateway = stack.use(await startBenchGateway());
  return {
    name: 'folder',
    aimMs: 100,
    ca: gateway.ca,
    ports: [gateway.ports.websocket],
    prepare: (hub) => {
      const manifest = stringify({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'cloudcoresecret' },
        type: 'Opaque',
        data: hubData(hub),
      });
      const temporary = join(gateway.folder, '.bench-new');
      return async () => {
        writeFileSync(temporary, manifest, { mode: 0o600 });
        renameSync(temporary, join(gateway.folder, 'cloudcoresecret.yaml'));
      };
    },
  };
}

async function fakeApi(stack: AsyncDisposableStack): Promise<Place> {
  const fleet = stack.use(await KubeFleet.start({ 'log.level': 'error' }));
  const replicas = await fleet.start(['a', 'b']);
  return {
    name: "two replicas, the tests' API server",
    aimMs: 250,
    ca: storedCa(fleet.api),
    ports: replicas.map(({ ready }) => portOf(ready.websocket)),
    prepare: (hub) => async () => putHub(fleet.api, hub),
  };
}

async function realApi(stack: AsyncDisposableStack): Promise<Place | undefined> {
  if (clusterBinaries().missing.length > 0) {
    console.log('swap      two replicas, kube-apiserver: not built; `node tools/cluster-binaries.ts` does');
    return undefined;
  }
  const cluster = stack.use(await LocalCluster.start());
  const base = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  stack.defer(() => rmSync(base, { recursive: true, force: true }));
  const kubeconfig = join(base, 'kubeconfig');
  writeFileSync(kubeconfig, cluster.kubeconfig('admin'), { mode: 0o600 });
  const ports: number[] = [];
  for (const name of ['a', 'b']) {
    const settings = {
      'secretStore.kind': 'kubernetes',
      'secretStore.namespace': 'kubeedge',
      'hub.replica': name,
      'log.level': 'error',
    };
    const { ready } = stack.use(
      await startGatewayProcess(join(base, name), settings, { KUBECONFIG: kubeconfig }),
    );
    ports.push(portOf(ready.websocket));
  }
  const { cadata, cakeydata } = await cluster.secret('casecret');
  return {
    name: 'two replicas, kube-apiserver',
    aimMs: 250,
    ca: storedPair(cadata!, cakeydata!),
    ports,
    prepare: (hub) => {
      const data = hubData(hub);
      return () => cluster.patch('/api/v1/namespaces/kubeedge/secrets/cloudcoresecret', { data });
    },
  };
}
