import { createPrivateKey } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { readPair } from '../../bench/lib/servers.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { goGet } from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { mintCa, mintServer, OID, type Pair } from '../support/pki/pki.ts';

/** Replaces the hub Secret as an operator would with an editor: a whole new file. */
function writeHubSecret(folder: string, certificate: Pair, key: Pair = certificate): void {
  writeSecret(folder, 'cloudcoresecret', {
    cloudcoredata: certificate.der,
    cloudcorekeydata: createPrivateKey(key.key).export({ type: 'sec1', format: 'der' }),
  });
}

function writeSecret(folder: string, name: string, data: Record<string, Buffer>): void {
  const encoded = Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, value.toString('base64')]),
  );
  const temporary = join(folder, `.${name}.tmp`);
  writeFileSync(
    temporary,
    stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, type: 'Opaque', data: encoded }),
    { mode: 0o600 },
  );
  renameSync(temporary, join(folder, `${name}.yaml`));
}

const status = (hub: TestGateway) =>
  hub.admin.get<{ problem?: string; wantedFingerprint: string }>('/api/v1/certificates');
const served = async (hub: TestGateway) => (await servedCertificate(hub.port('websocket'))).serialNumber;

describe('a mistake in a Secret', () => {
  const mistakes: [string, (ca: Pair) => Promise<[Pair, Pair?]>][] = [
    [
      'expired',
      async (ca) => [
        await mintServer(ca, {
          notBefore: new Date(Date.now() - 2 * 86_400_000),
          notAfter: new Date(Date.now() - 86_400_000),
        }),
      ],
    ],
    ['not yet valid', async (ca) => [await mintServer(ca, { notBefore: new Date(Date.now() + 86_400_000) })]],
    ['without its key', async (ca) => [await mintServer(ca), await mintServer(ca)]],
    ['from another CA', async () => [await mintServer(await mintCa())]],
    ['without serverAuth', async (ca) => [await mintServer(ca, { usages: [OID.clientAuth] })]],
    ['without the advertised names', async (ca) => [await mintServer(ca, { names: ['elsewhere.example'] })]],
  ];

  test.each(mistakes)(
    'B6: a hub certificate that is %s never reaches a listener; a good one after it does',
    async (_what, make) => {
      // Managed Secrets are mended at once; somebody else's are refused and reported.
      await using hub = await startTestGateway({ settings: { 'certificates.checkMs': '200' } });
      await hub.stop();
      await using external = await startTestGateway({
        folder: hub.folder,
        settings: { 'certificates.hubSecretManaged': 'false' },
      });
      const ca = readPair(external.folder, 'casecret', 'cadata', 'cakeydata');
      await using edge = await EdgeClient.join({
        ...external.edgeOptions('edge-1'),
        token: await external.nodeToken('edge-1'),
      });
      let dropped = 0;
      edge.on('disconnected', () => void dropped++);
      await edge.connect();
      const before = await served(external);

      writeHubSecret(external.folder, ...(await make(ca)));
      await eventually('the mistake is reported', async () => (await status(external)).problem !== undefined);
      expect(await served(external)).toBe(before);
      const metrics = (await goGetMetrics(external)).match(
        /^sallyport_certificate_last_reload_successful (\d)/m,
      );
      expect(metrics?.[1]).toBe('0');

      const good = await mintServer(ca);
      writeHubSecret(external.folder, good);
      await eventually(
        'the good certificate is served',
        async () => (await served(external)) === good.certificate.serialNumber,
      );
      expect((await status(external)).problem).toBeUndefined();
      await edge.send({ resource: 'app/alive', operation: 'update', content: 1 });
      expect(dropped).toBe(0);
    },
  );

  test('B6: a managed hub Secret that is damaged or deleted is issued anew, from the same CA', async () => {
    await using hub = await startTestGateway({ settings: { 'certificates.checkMs': '200' } });
    const before = await served(hub);
    const caBefore = readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8');
    rmSync(join(hub.folder, 'cloudcoresecret.yaml'));
    await eventually('a new hub certificate is served', async () => (await served(hub)) !== before);
    writeFileSync(
      join(hub.folder, 'cloudcoresecret.yaml'),
      'kind: Secret\nmetadata: {name: cloudcoresecret}\napiVersion: v1\ndata: {cloudcoredata: "AAAA", cloudcorekeydata: "AAAA"}\n',
    );
    const second = await served(hub);
    await eventually('it is mended again', async () => (await served(hub)) !== second);
    expect(readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8')).toBe(caBefore);
  });

  test('B7: certificate and key that arrive one after the other are taken together', async () => {
    await using first = await startTestGateway();
    await first.stop();
    await using hub = await startTestGateway({
      folder: first.folder,
      settings: { 'certificates.hubSecretManaged': 'false' },
    });
    const ca = readPair(hub.folder, 'casecret', 'cadata', 'cakeydata');
    const before = await served(hub);
    const next = await mintServer(ca);
    const old = parse(readFileSync(join(hub.folder, 'cloudcoresecret.yaml'), 'utf8')) as {
      data: Record<string, string>;
    };
    writeSecret(hub.folder, 'cloudcoresecret', {
      cloudcoredata: next.der,
      cloudcorekeydata: Buffer.from(old.data.cloudcorekeydata!, 'base64'),
    });
    await eventually('the half update is reported', async () => (await status(hub)).problem !== undefined);
    expect(await served(hub)).toBe(before);
    writeHubSecret(hub.folder, next);
    await eventually(
      'the whole update is served',
      async () => (await served(hub)) === next.certificate.serialNumber,
    );
  });

  test('B7: a file that is no manifest is reported and changes nothing, until it is one again', async () => {
    await using hub = await startTestGateway();
    const path = join(hub.folder, 'cloudcoresecret.yaml');
    const [before, good] = [await served(hub), readFileSync(path, 'utf8')];
    writeFileSync(path, good.slice(0, 150));
    await eventually(
      'it is reported',
      async () => (await status(hub)).problem?.includes('cloudcoresecret') === true,
    );
    expect(await served(hub)).toBe(before);
    writeFileSync(path, good);
    await eventually('all is well again', async () => (await status(hub)).problem === undefined);
    expect(await served(hub)).toBe(before);
  });

  test('A5: the CA Secret is replaced or lost under a running hub: never a silent switch, never a new CA, and readiness says so', async () => {
    await using hub = await startTestGateway({ settings: { 'certificates.checkMs': '200' } });
    const before = (await goGet(hub.port('https'), '/ca.crt')).body;
    const original = readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8');
    const other = await mintCa();
    writeSecret(hub.folder, 'casecret', {
      cadata: other.der,
      cakeydata: createPrivateKey(other.key).export({ type: 'sec1', format: 'der' }),
    });
    await eventually(
      'readiness says so',
      async () => (await goGet(hub.port('https'), '/readyz')).status === 500,
    );
    expect((await goGet(hub.port('https'), '/ca.crt')).body.equals(before)).toBe(true);
    rmSync(join(hub.folder, 'casecret.yaml'));
    await eventually('the loss was noticed', async () => {
      const { problem } = await status(hub);
      return problem?.includes('vanished') === true;
    });
    expect(() => readFileSync(join(hub.folder, 'casecret.yaml'))).toThrow('ENOENT');
    expect((await goGet(hub.port('https'), '/ca.crt')).body.equals(before)).toBe(true);
    writeFileSync(join(hub.folder, 'casecret.yaml'), original, { mode: 0o600 });
    await eventually(
      'it is ready again',
      async () => (await goGet(hub.port('https'), '/readyz')).status === 200,
    );
  });

  test.each([
    ['lacks a key', (data: Record<string, string>) => ({ cadata: data.cadata! }), 'cakeydata'],
    ['holds garbage', (data: Record<string, string>) => ({ ...data, cadata: 'AAAA' }), 'casecret'],
  ])(
    'A3: a CA Secret that %s stops the start, is not written, and the error names it',
    async (_what, damage, named) => {
      await using hub = await startTestGateway();
      await hub.stop();
      const path = join(hub.folder, 'casecret.yaml');
      const manifest = parse(readFileSync(path, 'utf8')) as { data: Record<string, string> };
      writeFileSync(path, stringify({ ...manifest, data: damage(manifest.data) }));
      const damaged = readFileSync(path, 'utf8');
      await expect(startTestGateway({ folder: hub.folder })).rejects.toThrow(named);
      expect(readFileSync(path, 'utf8')).toBe(damaged);
    },
  );
});

async function goGetMetrics(hub: TestGateway): Promise<string> {
  const ca = readFileSync(join(hub.folder, 'ca.crt'));
  const tls = {
    ca,
    cert: readFileSync(join(hub.folder, 'admin.crt')),
    key: readFileSync(join(hub.folder, 'admin.key')),
    rejectUnauthorized: true,
  };
  return (await goGet(hub.port('admin'), '/metrics', { tls })).body.toString();
}
