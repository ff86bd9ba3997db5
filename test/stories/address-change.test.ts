import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

test('B1: an added address is served from the same CA within 5 s, the CA Secret is untouched, no connection drops', async () => {
  await using hub = await startTestGateway();
  const caBefore = readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8');
  let dropped = 0;
  const edges = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const node = `edge-${index}`;
      const edge = await EdgeClient.join({ ...hub.edgeOptions(node), token: await hub.nodeToken(node) });
      edge.on('disconnected', () => void dropped++);
      await edge.connect();
      return edge;
    }),
  );
  const port = hub.port('websocket');
  const before = await servedCertificate(port);
  writeFileSync(hub.file, 'advertise:\n  addresses: [localhost, 127.0.0.1, hub.example.com, "192.0.2.7"]\n');
  const start = Date.now();
  expect(hub.config.reload().applied).toEqual(['advertise.addresses']);
  for (const name of ['https', 'websocket', 'admin'] as const) {
    await eventually(`${name} serves the new names`, async () => {
      const names = (await servedCertificate(hub.port(name))).subjectAltName ?? '';
      return names.includes('hub.example.com') && names.includes('192.0.2.7');
    });
  }
  expect(Date.now() - start).toBeLessThan(3 * 5_000);
  const after = await servedCertificate(port);
  expect(after.issuer).toBe(before.issuer);
  expect(readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8')).toBe(caBefore);

  for (const edge of edges) await edge.send({ resource: 'app/alive', operation: 'update', content: 1 });
  await using late = await EdgeClient.join({
    ...hub.edgeOptions('late'),
    token: await hub.nodeToken('late'),
  });
  await late.connect();
  expect(dropped).toBe(0);
  await Promise.all(edges.map((edge) => edge.close()));
});
