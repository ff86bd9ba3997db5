import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { goGet } from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

test('a gateway that starts again on its Secrets has the same CA and certificate, and its nodes come back without joining', async () => {
  await using first = await startTestGateway();
  const ports = { https: String(first.port('https')), websocket: String(first.port('websocket')) };
  const options = first.edgeOptions('edge-1');
  await using edge = await EdgeClient.join({ ...options, token: await first.nodeToken('edge-1') });
  const seen: string[] = [];
  edge.on('disconnected', ({ reason }) => void seen.push(reason?.name ?? 'vanished'));
  await edge.connect();
  const [ca, served] = [
    (await goGet(first.port('https'), '/ca.crt')).body,
    (await servedCertificate(first.port('websocket'))).serialNumber,
  ];
  await first.stop();
  await eventually('the edge was told', () => seen.length > 0);
  expect(seen[0]).toBe('Draining');
  const whileDown = edge.send({ resource: 'app/offline', operation: 'update', content: 'kept' });

  await using second = await startTestGateway({
    folder: first.folder,
    settings: { 'https.port': ports.https, 'websocket.port': ports.websocket },
  });
  expect((await goGet(second.port('https'), '/ca.crt')).body.equals(ca)).toBe(true);
  expect((await servedCertificate(second.port('websocket'))).serialNumber).toBe(served);
  await whileDown;
  await eventually(
    'the node is back',
    async () => (await second.admin.get<{ items: unknown[] }>('/api/v1/nodes')).items.length === 1,
  );
});
