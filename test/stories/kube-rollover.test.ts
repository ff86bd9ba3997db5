import { createHash, X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CaRolloverStatus, RolloverStep } from '../../src/contracts/ca-rollover.ts';
import { EdgeCoreSocket, goGet, joinAsEdgeCore, renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually, eventuallyHolds } from '../support/eventually.ts';
import { KubeApi } from '../support/kube/kube-api.ts';
import { storedCa } from '../support/kube/kube-fleet.ts';
import { type KubeGateway, startKubeGateway } from '../support/kube/kube-gateway.ts';
import { type KubeEdgeCluster, kubeEdgeCluster } from '../support/pki/kubeedge-pki.ts';

const API = '/api/v1/ca/rollover';
const NAMES = ['a', 'b', 'c'];
let api: KubeApi;
let cluster: KubeEdgeCluster;
const hubs: KubeGateway[] = [];

beforeEach(async () => {
  api = await KubeApi.start();
  cluster = await kubeEdgeCluster(['localhost', '127.0.0.1', '::1'], { hubSubject: 'CN=cloudcore' });
  for (const [name, data] of Object.entries(cluster.secrets)) api.put(name, { data });
});
afterEach(async () => {
  for (const hub of hubs.splice(0).reverse()) await hub[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
});

const start = async (name: string) => {
  const settings = {
    'hub.replica': name,
    'certificates.checkMs': '500',
    'certificates.historySyncMs': '200',
  };
  const hub = await startKubeGateway(api, { settings });
  hubs.push(hub);
  return hub;
};
const sha256 = (der: Uint8Array) => createHash('sha256').update(der).digest('hex');
const status = (hub: KubeGateway) => hub.admin.get<CaRolloverStatus>(API);

/** C3: what joining nodes are given is the same on every replica. */
async function caOfEveryReplica(): Promise<Set<string>> {
  const seen = await Promise.all(
    hubs.map(async (hub) => {
      const token = await hub.admin.post<{ token: string }>('/api/v1/tokens', { node: 'edge-x' });
      return [sha256((await goGet(hub.port('https'), '/ca.crt')).body), token.token.split('.')[0]!];
    }),
  );
  return new Set(seen.flat());
}

function verifies(hub: KubeGateway, ca: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(
      { host: '127.0.0.1', port: hub.port('websocket'), servername: 'localhost', ca },
      () => {
        resolve(socket.authorized);
        socket.destroy();
      },
    );
    socket.on('error', () => resolve(false));
  });
}

async function step(hub: KubeGateway, name: RolloverStep, phase: string): Promise<void> {
  const blockers = async () => (await status(hub)).next.find((one) => one.step === name)?.blockers;
  await eventually(`${name} can be done`, async () => (await blockers())?.length === 0).catch(
    async (cause) => {
      throw new Error(`${name} cannot be done: ${JSON.stringify(await blockers())}`, { cause });
    },
  );
  await hub.admin.post(`${API}/${name}`, {});
  await eventuallyHolds(async () => {
    for (const one of await Promise.all(hubs.map(status))) expect(one.phase).toBe(phase);
  });
  await eventually('every replica hands out one CA', async () => (await caOfEveryReplica()).size === 1);
}

test('C1, C2, C3: a fleet of unmodified EdgeCores of a KubeEdge CA on three replicas: each step on another replica, one is replaced midway, nobody is dropped and nobody joins again', async () => {
  for (const name of NAMES) await start(name);
  const old = cluster.ca;
  const edges = await Promise.all(
    NAMES.map(async (name, index) => {
      const pair = await cluster.edge(`edge-${name}`);
      const credentials = { ca: old.pem, cert: pair.pem, key: pair.key };
      const socket = await EdgeCoreSocket.open(hubs[index]!.port('websocket'), `edge-${name}`, credentials);
      let closed = 0;
      socket.socket.on('close', () => closed++);
      return { node: `edge-${name}`, credentials, socket, closed: () => closed };
    }),
  );
  const casecret = () => api.stored('casecret')!.data as Record<string, string>;
  const before = casecret().cadata;

  await step(hubs[0]!, 'prepare', 'prepared');
  expect(await caOfEveryReplica()).toEqual(new Set([old.sha256]));
  await step(hubs[1]!, 'activate', 'active');
  const [newSha] = await caOfEveryReplica();
  expect(newSha).not.toBe(old.sha256);
  const next = new X509Certificate((await goGet(hubs[2]!.port('https'), '/ca.crt')).body).toString();
  await eventually('both kinds of nodes verify every replica', async () =>
    (await Promise.all(hubs.flatMap((hub) => [verifies(hub, old.pem), verifies(hub, next)]))).every(Boolean),
  );
  expect(edges.map(({ closed }) => closed())).toEqual([0, 0, 0]);
  expect(casecret().cadata).toBe(before);

  // A replica that starts now begins where the others are.
  await start('d');
  expect(await status(hubs[3]!)).toMatchObject({ phase: 'active' });
  const token = await hubs[3]!.admin.post<{ token: string }>('/api/v1/tokens', { node: 'edge-new' });
  const joined = await joinAsEdgeCore(hubs[0]!.port('https'), { node: 'edge-new', token: token.token });
  expect(joined.answer.status).toBe(200);

  await expect(hubs[0]!.admin.post(`${API}/retire`, {})).rejects.toMatchObject({ code: 'ROLLOVER_BLOCKED' });
  for (const [index, edge] of edges.entries()) {
    // EdgeCore renews over mutual TLS, still knowing the old CA alone, and reconnects.
    const renewed = await renewAsEdgeCore(hubs[(index + 1) % 3]!.port('https'), edge.node, edge.credentials);
    expect(renewed.answer.status).toBe(200);
    expect(edge.closed()).toBe(0);
    edge.socket.socket.terminate();
    edge.socket = await EdgeCoreSocket.open(hubs[index]!.port('websocket'), edge.node, renewed.credentials);
  }
  const late: string[] = [];
  for (const { node, socket } of edges) socket.socket.on('close', () => late.push(node));

  await step(hubs[2]!, 'retire', 'retiring');
  await step(hubs[3]!, 'revoke', 'idle');
  await eventually('no replica trusts the old CA', async () => {
    const { certificates } = await hubs[0]!.admin.get<{ certificates: { sha256: string }[] }>(
      '/api/v1/certificates',
    );
    return certificates.every((one) => one.sha256 !== old.sha256);
  });
  expect(storedCa(api).sha256).toBe(newSha);
  expect(JSON.stringify(api.stored('sallyport-rollover')!.data)).not.toContain('newcakeydata');
  for (const hub of hubs)
    expect([await verifies(hub, old.pem), await verifies(hub, next)]).toEqual([true, true]);
  expect(late).toEqual([]);
  expect(api.writes.filter(({ name }) => name === 'casecret')).toHaveLength(1);
  for (const { socket } of edges) socket.socket.terminate();
});
