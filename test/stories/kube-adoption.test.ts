import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CertificateStatus } from '../../src/contracts/certificate-issuer.ts';
import { EdgeCoreSocket, goGet, joinAsEdgeCore, renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { KubeApi } from '../support/kube/kube-api.ts';
import { startKubeGateway } from '../support/kube/kube-gateway.ts';
import { type KubeEdgeCluster, kubeEdgeCluster } from '../support/pki/kubeedge-pki.ts';
import { mintServer, type Pair } from '../support/pki/pki.ts';

const NAMES = ['localhost', '127.0.0.1', '::1'];
let api: KubeApi;
let cluster: KubeEdgeCluster;
beforeEach(async () => {
  api = await KubeApi.start();
  await adopt({ hubSubject: 'CN=cloudcore' });
});
async function adopt(options: { hubSubject?: string }): Promise<void> {
  cluster = await kubeEdgeCluster(NAMES, options);
  for (const [name, data] of Object.entries(cluster.secrets)) api.put(name, { data });
}
afterEach(() => api[Symbol.asyncDispose]());

const credentials = (edge: Pair) => ({ ca: cluster.ca.pem, cert: edge.pem, key: edge.key });

/** Beside what the gateway says of itself and of nodes, in Secrets of its own. */
const writesBesideReceipts = () =>
  api.writes
    .map(({ verb, name }) => `${verb} ${name}`)
    .filter((write) => !/^update sallyport-revocations$|sallyport-(history|replicas)$/.test(write));

test("KubeEdge's CA, hub certificate of a hundred years and token are adopted as they are: nothing of KubeEdge's is written", async () => {
  await using hub = await startKubeGateway(api, { settings: { 'certificates.checkMs': '100' } });
  const served = await servedCertificate(hub.port('websocket'));
  expect(served.fingerprint256).toBe(cluster.hub.certificate.fingerprint256);
  expect((await goGet(hub.port('https'), '/ca.crt')).body.equals(cluster.ca.der)).toBe(true);

  const joined = await joinAsEdgeCore(hub.port('https'), { node: 'edge-new', token: cluster.token });
  expect(joined.answer.status).toBe(200);
  const fleet = await hub.admin.post<{ token: string }>('/api/v1/tokens', { fleet: true });
  expect(fleet.token).toBe(cluster.token);
  // Two more periodic checks and reads.
  const status = () => hub.admin.get<CertificateStatus>('/api/v1/certificates');
  expect((await status()).problem).toBeUndefined();
  expect(writesBesideReceipts()).toEqual(['create sallyport-revocations', 'create sallyport-tokens']);
});

test('edges that KubeEdge enrolled go on working: they verify the hub, connect, and renew', async () => {
  await using hub = await startKubeGateway(api);
  for (const subject of [
    undefined,
    'C=CN, O=system:nodes, L=Hangzhou, ST=Zhejiang, CN=system:node:edge-old',
  ]) {
    const old = await cluster.edge('edge-old', subject);
    const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-old', credentials(old));
    edge.keepalive();
    await eventually('it has a session', async () => {
      const { nodes } = await hub.admin.get<{ nodes: number }>('/api/v1/info');
      return nodes === 1;
    });
    const renewed = await renewAsEdgeCore(hub.port('https'), 'edge-old', credentials(old));
    expect(renewed.answer.status).toBe(200);
    edge.socket.close();
    const again = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-old', renewed.credentials);
    again.socket.close();
  }
});

test('a hub certificate that bears the name of its CA is served as it is; without its Secret another is issued that OpenSSL accepts too', async () => {
  await adopt({});
  await using hub = await startKubeGateway(api);
  const served = await servedCertificate(hub.port('websocket'));
  expect(served.fingerprint256).toBe(cluster.hub.certificate.fingerprint256);
  // What Go checks, and so EdgeCore: the signature.
  expect(served.verify(cluster.ca.certificate.publicKey)).toBe(true);
  await expect(hub.admin.get('/api/v1/info')).rejects.toThrow(/self-signed/);
  api.remove('cloudcoresecret');
  await eventually('another is served', () =>
    hub.admin.get('/api/v1/info').then(
      () => true,
      () => false,
    ),
  );
});

test('a name that is missing is added: the hub certificate is issued from the same CA, and old edges still verify it', async () => {
  await using hub = await startKubeGateway(api, {
    settings: { 'advertise.addresses': 'localhost,127.0.0.1,new.example.com' },
  });
  const served = await servedCertificate(hub.port('websocket'));
  expect(served.checkHost('new.example.com')).toBe('new.example.com');
  expect(served.verify(cluster.ca.certificate.publicKey)).toBe(true);
  const edge = await EdgeCoreSocket.open(
    hub.port('websocket'),
    'edge-old',
    credentials(await cluster.edge('edge-old')),
  );
  edge.socket.close();
  expect(writesBesideReceipts()).toEqual([
    'update cloudcoresecret',
    'create sallyport-revocations',
    'create sallyport-tokens',
  ]);
});

test('A9: a hub certificate of cert-manager, by reference, is followed and never written, due or not', async () => {
  const put = (hub: Pair) =>
    api.put('hub-tls', {
      type: 'kubernetes.io/tls',
      data: {
        'tls.crt': Buffer.from(hub.pem).toString('base64'),
        'tls.key': Buffer.from(hub.key).toString('base64'),
        'ca.crt': Buffer.from(cluster.ca.pem).toString('base64'),
      },
    });
  const soon = new Date(Date.now() + 86_400_000);
  const due = await mintServer(cluster.ca, {
    notBefore: new Date(Date.now() - 80 * 86_400_000),
    notAfter: soon,
  });
  put(due);
  await using hub = await startKubeGateway(api, {
    settings: { 'certificates.hubSecret': 'hub-tls', 'certificates.checkMs': '50' },
  });
  const serial = async () => (await servedCertificate(hub.port('websocket'))).serialNumber;
  expect(await serial()).toBe(due.certificate.serialNumber);
  const next = await mintServer(cluster.ca);
  put(next);
  await eventually('the new one is served', async () => (await serial()) === next.certificate.serialNumber);
  await expect(hub.admin.post('/api/v1/certificates/hub/rotate')).rejects.toMatchObject({
    code: 'HUB_NOT_MANAGED',
  });
  api.remove('hub-tls');
  await eventually('its absence is told', async () => {
    const { problem } = await hub.admin.get<CertificateStatus>('/api/v1/certificates');
    return problem?.includes('vanished') ?? false;
  });
  expect(await serial()).toBe(next.certificate.serialNumber);
  expect(api.writes.filter(({ name }) => name === 'hub-tls')).toEqual([]);
});
