import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/index.ts';
import { sallyport } from '../support/fleets/process.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { freePort } from '../support/free-port.ts';

test('the stand-in for CloudCore of the examples takes the CA of the gateway, and doctor finds it well', async () => {
  const [events, tunnel] = [await freePort(), await freePort()];
  const upstream = {
    'upstream.kind': 'cloudcore',
    'upstream.addresses': `localhost:${events}`,
    'upstream.tunnelAddresses': `localhost:${tunnel}`,
  };
  await using hub = await startTestGateway({ settings: upstream });
  const child = spawn(process.execPath, ['examples/cloudcore/cloudcore.ts'], {
    env: {
      ...process.env,
      SALLYPORT_SECRET_STORE_PATH: hub.folder,
      CLOUDCORE_PORT: String(events),
      CLOUDCORE_TUNNEL_PORT: String(tunnel),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const lines = createInterface({ input: child.stdout });
    expect(await once(lines, 'line')).toEqual(['a stand-in for CloudCore is ready']);
    const settings = { ...upstream, 'secretStore.path': hub.folder };
    const { stdout } = await sallyport([
      ...['doctor', '-o', 'json', '--admin', hub.gateway.ready().admin!],
      ...['--cert', join(hub.folder, 'admin.crt'), '--key', join(hub.folder, 'admin.key')],
      ...['--ca', join(hub.folder, 'ca.crt')],
      ...Object.entries(settings).flatMap(([path, value]) => ['--set', `${path}=${value}`]),
    ]);
    const { groups } = JSON.parse(stdout) as {
      groups: { findings: { check: string; status: string; title: string }[] }[];
    };
    const found = groups.flatMap(({ findings }) => findings).filter(({ check }) => check === 'upstream');
    expect(found.map(({ status, title }) => `${status} ${title}`)).toEqual([
      `ok CloudCore at localhost:${events} answers a node`,
      `ok the tunnel of CloudCore at localhost:${tunnel} can be reached`,
    ]);
    await using edge = await EdgeClient.join({
      ...hub.edgeOptions('edge-1'),
      token: await hub.nodeToken('edge-1'),
    });
    await edge.connect();
    for await (const line of lines) if (line === 'nodes: edge-1') break;
  } finally {
    child.kill('SIGKILL');
  }
});
