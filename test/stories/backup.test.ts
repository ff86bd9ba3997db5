import { once } from 'node:events';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AdminClient } from '../../src/cli/admin/admin-client.ts';
import type { NodeInfo } from '../../src/contracts/node-directory.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import type { EdgeClientOptions } from '../../src/sdk/edge-client-options.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, sallyport, startGatewayProcess } from '../support/fleets/process.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const TRANSPORTS = ['websocket', 'quic', 'webtransport'] as const;
const LISTENERS = ['https', ...TRANSPORTS, 'admin'] as const;
const BACK_MS = 120_000;
const PASSPHRASE = 'eleven blue horses';

test('A1 G7: everything is lost and restored: every node is back on every transport without joining, the revoked one is out, a token on its way works', async () => {
  const base = temporaryFolder();
  const [folder, file, passphraseFile] = [
    join(base, 'secrets'),
    join(base, 'fleet.backup'),
    join(base, 'passphrase'),
  ];
  writeFileSync(passphraseFile, `${PASSPHRASE}\n`, { mode: 0o600 });
  const settings = {
    'quic.enabled': 'true',
    'quic.port': '0',
    'quic.host': '127.0.0.1',
    'webtransport.enabled': 'true',
    'webtransport.port': '0',
    'webtransport.host': '127.0.0.1',
  };
  const clients: EdgeClient[] = [];
  const gateways: GatewayProcess[] = [];
  try {
    const first = await startGatewayProcess(folder, settings);
    gateways.push(first);
    const addresses = first.ready as unknown as Record<(typeof LISTENERS)[number], string>;
    const port = (name: (typeof LISTENERS)[number]) => addresses[name].split(':').at(-1)!;
    const admin = () =>
      new AdminClient({
        address: addresses.admin,
        cert: join(folder, 'admin.crt'),
        key: join(folder, 'admin.key'),
        ca: join(folder, 'ca.crt'),
      });
    const optionsOf = (node: string, transport: (typeof TRANSPORTS)[number]): EdgeClientOptions => ({
      node,
      directory: join(base, `edge-${node}`),
      transport,
      hub: {
        https: `localhost:${port('https')}`,
        websocket: `localhost:${port('websocket')}`,
        quic: `localhost:${port('quic')}`,
        webtransport: `localhost:${port('webtransport')}`,
      },
      reconnect: { minMs: 50, maxMs: 500 },
    });
    const tokenFor = async (node: string) =>
      (await admin().post<{ token: string }>('/api/v1/tokens', { node })).token;
    const joinFleet = async (node: string, transport: (typeof TRANSPORTS)[number]) => {
      const client = await EdgeClient.join({ ...optionsOf(node, transport), token: await tokenFor(node) });
      clients.push(client);
      await client.connect();
    };
    for (const transport of TRANSPORTS) await joinFleet(`on-${transport}`, transport);
    await joinFleet('stolen', 'websocket');
    await admin().post('/api/v1/revocations', { node: 'stolen', reason: 'keyCompromise' });
    const onItsWay = await tokenFor('late');
    const forStolen = await tokenFor('stolen-again').then(() => tokenFor('stolen'));
    const nodes = async () => (await admin().get<{ items: NodeInfo[] }>('/api/v1/nodes')).items;
    const whoIsThere = (items: readonly NodeInfo[]) =>
      Object.fromEntries(
        items.map(({ node, transport, certificate }) => [node, [transport, certificate.serial]]).sort(),
      );
    await eventually('the stolen node is out', async () => (await nodes()).length === 3);
    const before = whoIsThere(await nodes());

    const run = (...args: string[]) =>
      sallyport([...args, '--set', `secretStore.path=${folder}`, '--passphrase-file', passphraseFile]);
    const made = await run('backup', 'create', '--out', file);
    expect(made.code, made.stderr).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const verified = await run('backup', 'verify', file, '--admin', addresses.admin);
    expect(verified.code, verified.stdout + verified.stderr).toBe(0);
    expect(verified.stdout).toContain('3 of 3 connected nodes chain to this backup');
    expect(await admin().get('/api/v1/backup')).toMatchObject({ coversCa: true });

    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    rmSync(folder, { recursive: true });
    const restored = await run('backup', 'restore', file, '--yes');
    expect(restored.code, restored.stdout + restored.stderr).toBe(0);
    expect(made.stdout + made.stderr + restored.stdout + restored.stderr).not.toContain(PASSPHRASE);

    const ports = Object.fromEntries(LISTENERS.map((name) => [`${name}.port`, port(name)]));
    const second = await startGatewayProcess(folder, { ...settings, ...ports });
    gateways.push(second);
    expect(second.ready.caSha256).toBe(first.ready.caSha256);
    await eventually('every node is back', async () => (await nodes()).length === 3, BACK_MS);
    expect(whoIsThere(await nodes())).toEqual(before);

    const revocations = await admin().get<{ items: { node?: string }[] }>('/api/v1/revocations');
    expect(revocations.items.map(({ node }) => node)).toEqual(['stolen']);
    const again = { ...optionsOf('stolen', 'websocket'), directory: join(base, 'edge-thief') };
    await expect(EdgeClient.join({ ...again, token: forStolen })).rejects.toThrow(/revoked/);
    const late = await EdgeClient.join({ ...optionsOf('late', 'websocket'), token: onItsWay });
    clients.push(late);
    await late.connect();
    await eventually('the node with the old token is there', async () => (await nodes()).length === 4);
    expect((await nodes()).map(({ node }) => node)).not.toContain('stolen');

    const afterwards = await run('backup', 'verify', file, '--admin', addresses.admin);
    expect(afterwards.stdout).toContain('4 of 4 connected nodes chain to this backup');
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    await Promise.all(gateways.map((gateway) => gateway[Symbol.asyncDispose]()));
  }
});
