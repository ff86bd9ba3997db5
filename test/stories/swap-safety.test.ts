import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { goGet } from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { readCa, writeSecret } from '../support/fleets/secret-files.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { mintServer, type Pair, unknownCriticalExtension } from '../support/pki/pki.ts';

const NAMES = ['localhost', '127.0.0.1', '::1'];
const writeHub = (folder: string, { der, privateKey }: Pair) =>
  writeSecret(folder, 'cloudcoresecret', {
    cloudcoredata: der,
    cloudcorekeydata: privateKey.export({ type: 'sec1', format: 'der' }),
  });
const status = (hub: TestGateway) =>
  hub.admin.get<{ problem?: string; storedHubSha256?: string }>('/api/v1/certificates');
const served = async (hub: TestGateway) => (await servedCertificate(hub.port('websocket'))).serialNumber;
/** Without a handshake that a client breaks off. */
const wanted = async (hub: TestGateway) =>
  (
    await hub.admin.get<{ certificates: { kind: string; serial: string }[] }>('/api/v1/certificates')
  ).certificates.find(({ kind }) => kind === 'hub')?.serial;
const metrics = async (hub: TestGateway) => {
  const file = (name: string) => readFileSync(join(hub.folder, name));
  const tls = {
    ca: file('ca.crt'),
    cert: file('admin.crt'),
    key: file('admin.key'),
    rejectUnauthorized: true,
  };
  return (await goGet(hub.port('admin'), '/metrics', { tls })).body.toString();
};

/** A gateway whose hub certificate somebody else keeps; the first one is `first`. */
async function startExternal(
  first: (ca: Pair) => Promise<Pair>,
  settings: Record<string, string> = {},
): Promise<{ hub: TestGateway; ca: Pair }> {
  const maker = await startTestGateway();
  await maker.stop();
  const ca = readCa(maker.folder);
  writeHub(maker.folder, await first(ca));
  const hub = await startTestGateway({
    folder: maker.folder,
    settings: { 'certificates.hubSecretManaged': 'false', 'certificates.checkMs': '300', ...settings },
  });
  return { hub, ca };
}

test('B6: a hub certificate that looks valid and that no client would verify is tried off to the side and refused', async () => {
  const { hub, ca } = await startExternal((ca) => mintServer(ca), {
    'quic.enabled': 'true',
    'webtransport.enabled': 'true',
  });
  await using _ = hub;
  const before = await served(hub);
  // Dates, names, key, chain and usage are right; an extension nobody knows is marked critical.
  writeHub(hub.folder, await mintServer(ca, { extensions: [unknownCriticalExtension()] }));
  await eventually('it is refused', async () =>
    /was tried before the swap, and failed: https, websocket, admin: a client does not verify it/.test(
      (await status(hub)).problem ?? '',
    ),
  );
  expect(await served(hub)).toBe(before);
  const text = await metrics(hub);
  expect(text).toMatch(/sallyport_certificate_reloads_total\{result="failure",reason="preflight"\} 1\n/);
  expect(text).toMatch(/sallyport_certificate_last_reload_successful 0\n/);

  const good = await mintServer(ca);
  writeHub(hub.folder, good);
  await eventually('a good one is served', async () => (await served(hub)) === good.certificate.serialNumber);
  expect((await status(hub)).problem).toBeUndefined();
});

test('B6: when nodes that were connected cannot connect to a new hub certificate, the previous one returns by itself', async () => {
  // The nodes use an address that is not advertised; the first certificate holds it all the same.
  const { hub, ca } = await startExternal((ca) => mintServer(ca, { names: [...NAMES, '127.0.0.2'] }), {
    'websocket.host': '0.0.0.0',
  });
  await using _ = hub;
  const first = await wanted(hub);
  const nodes = ['edge-1', 'edge-2', 'edge-3'];
  const edges = await Promise.all(
    nodes.map(async (node) => {
      const options = hub.edgeOptions(node);
      const edge = await EdgeClient.join({
        ...options,
        hub: { ...options.hub, websocket: `127.0.0.2:${hub.port('websocket')}` },
        token: await hub.nodeToken(node),
      });
      await edge.connect();
      return edge;
    }),
  );
  const connected = async () => (await hub.admin.get<{ items: unknown[] }>('/api/v1/nodes')).items.length;
  try {
    await eventually('all are connected', async () => (await connected()) === 3);
    const second = await mintServer(ca, { names: NAMES });
    writeHub(hub.folder, second);
    await eventually('it is served', async () => (await wanted(hub)) === second.certificate.serialNumber);
    expect(await connected()).toBe(3);

    for (const node of nodes) await hub.admin.post(`/api/v1/nodes/${node}/disconnect`);
    await eventually('the first is served again', async () => (await wanted(hub)) === first);
    await eventually('all are back', async () => (await connected()) === 3);
    expect((await status(hub)).problem).toMatch(/3 nodes that were connected cannot connect/);
    expect(await metrics(hub)).toMatch(/sallyport_certificate_returns_total 1\n/);

    // A person may want it all the same, and then it stays.
    await hub.admin.post('/api/v1/certificates/accept');
    expect(await wanted(hub)).toBe(second.certificate.serialNumber);
    expect(await served(hub)).toBe(second.certificate.serialNumber);
    expect((await status(hub)).problem).toBeUndefined();
  } finally {
    await Promise.all(edges.map((edge) => edge.close()));
  }
});
