import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { AdminClient } from '../../src/cli/admin/admin-client.ts';
import { goGet, joinAsEdgeCore } from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/fleets/process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

const portOf = (address: string) => Number(address.split(':').at(-1));
const adminOf = ({ ready }: GatewayProcess) =>
  new AdminClient({
    address: ready.admin,
    cert: join(folder, 'admin.crt'),
    key: join(folder, 'admin.key'),
    ca: join(folder, 'ca.crt'),
  });

test('A1: four gateways that start at once on an empty folder have one CA, byte for byte, and what one rotates all serve', async () => {
  const gateways = await Promise.all(Array.from({ length: 4 }, () => startGatewayProcess(folder)));
  try {
    const cas = await Promise.all(gateways.map(({ ready }) => goGet(portOf(ready.https), '/ca.crt')));
    for (const { body } of cas) expect(body.equals(cas[0]!.body)).toBe(true);
    expect(new Set(gateways.map(({ ready }) => ready.caSha256)).size).toBe(1);
    const caSecret = readFileSync(join(folder, 'casecret.yaml'), 'utf8');

    const served = () =>
      Promise.all(
        gateways.map(async ({ ready }) => (await servedCertificate(portOf(ready.websocket))).serialNumber),
      );
    await eventually('all serve one hub certificate', async () => new Set(await served()).size === 1);
    const [before] = await served();
    await adminOf(gateways[0]!).post('/api/v1/certificates/hub/rotate');
    await eventually(
      'all serve the new one',
      async () => (await served()).every((serial) => serial !== before) && new Set(await served()).size === 1,
    );
    expect(readFileSync(join(folder, 'casecret.yaml'), 'utf8')).toBe(caSecret);

    // E3, E5: a token of one gateway is good at another, and once over all of them.
    const { token } = await adminOf(gateways[1]!).post<{ token: string }>('/api/v1/tokens', {
      node: 'edge-1',
    });
    expect(
      (await joinAsEdgeCore(portOf(gateways[2]!.ready.https), { node: 'edge-1', token })).answer.status,
    ).toBe(200);
    expect(
      (await joinAsEdgeCore(portOf(gateways[3]!.ready.https), { node: 'edge-1', token })).answer.status,
    ).toBe(401);
    const { token: fleet } = await adminOf(gateways[1]!).post<{ token: string }>('/api/v1/tokens', {
      fleet: true,
    });
    expect(
      (await adminOf(gateways[3]!).post<{ token: string }>('/api/v1/tokens', { fleet: true })).token,
    ).toBe(fleet);
  } finally {
    await Promise.all(gateways.map((gateway) => gateway[Symbol.asyncDispose]()));
  }
});

test('A10: at the most verbose level no key, token or Secret value appears in the log', async () => {
  await using gateway = await startGatewayProcess(folder, { 'log.level': 'trace' });
  const { token } = await adminOf(gateway).post<{ token: string }>('/api/v1/tokens', { node: 'edge-1' });
  const joined = await joinAsEdgeCore(portOf(gateway.ready.https), { node: 'edge-1', token });
  expect(joined.answer.status).toBe(200);
  await joinAsEdgeCore(portOf(gateway.ready.https), { node: 'edge-1', token });
  await adminOf(gateway).post('/api/v1/certificates/hub/rotate');
  await gateway[Symbol.asyncDispose]();
  const log = gateway.log();
  expect(log).toContain('gateway is ready');
  for (const part of token.split('.').slice(1)) expect(log).not.toContain(part);
  expect(log).not.toMatch(/PRIVATE KEY|BEGIN EC/);
  for (const name of ['casecret', 'cloudcoresecret', 'tokensecret', 'sallyport-tokens']) {
    const text = readFileSync(join(folder, `${name}.yaml`), 'utf8');
    for (const [, key, value] of text.matchAll(/^ {2}([\w.-]+): "?([A-Za-z0-9+/=]{40,})/gm)) {
      if (/^(cadata|cloudcoredata)$/.test(key!)) continue;
      const bytes = Buffer.from(value!, 'base64');
      for (const form of [value!, bytes.toString('hex'), bytes.toString('base64url')])
        expect(log.includes(form.slice(0, 64)), `${name} ${key}`).toBe(false);
    }
  }
});
