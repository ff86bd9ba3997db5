import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { startGatewayProcess } from '../support/fleets/process.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

test('Q3: after kill -9 of the gateway an idle edge over QUIC is back at most 15 s after the gateway is', async () => {
  const base = temporaryFolder();
  const folder = join(base, 'secrets');
  // Joins, and finds ports that are free.
  const first = await startTestGateway({ folder, settings: { 'quic.enabled': 'true' } });
  const { hub, ...rest } = first.edgeOptions('edge-1', { transport: 'quic' });
  const token = await first.nodeToken('edge-1');
  const options = { hub, ...rest, directory: join(base, 'edge-1') };
  await using client = await EdgeClient.join({ ...options, token });
  const ports = { https: first.port('https'), quic: first.port('quic') };
  await first.stop();
  const start = () =>
    startGatewayProcess(folder, {
      'https.port': String(ports.https),
      'quic.enabled': 'true',
      'quic.port': String(ports.quic),
      'quic.host': '127.0.0.1',
    });
  const killed = await start();
  await client.connect();
  const back = new Promise<void>((resolve) => client.on('connected', () => resolve()));
  killed.child.kill('SIGKILL');
  await once(killed.child, 'exit');
  await using _again = await start();
  const at = performance.now();
  await back;
  expect(performance.now() - at).toBeLessThan(3 * 15_000);
  await client.close();
});
