import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EdgeCoreSocket, renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { listNodes, metric, mintNode } from '../support/fleets/gateway-views.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

const legacy = { subject: 'O=KubeEdge,CN=kubeedge.io' };

test('D6: a certificate that names no node is refused by default, and counted; neither connects nor renews', async () => {
  await using hub = await startTestGateway();
  const old = await mintNode(hub, 'edge-1', legacy);
  await expect(EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', old)).rejects.toThrow('401');
  const { answer } = await renewAsEdgeCore(hub.port('https'), 'edge-1', old);
  expect([answer.status, answer.headers['sallyport-reason']]).toEqual([401, 'legacy-certificate']);
  expect(await metric(hub, 'handshake_failures_total', { reason: 'legacy-certificate' })).toBeGreaterThan(0);
});

test('D6: mapped to a node by its serial it is that node and no other, live, and its renewal names the node', async () => {
  await using hub = await startTestGateway();
  const old = await mintNode(hub, 'edge-7', legacy);
  const serial = old.pair.certificate.serialNumber;
  writeFileSync(hub.file, `identity:\n  legacyNodes:\n    "${serial}": edge-7\n`);
  expect(hub.config.reload().applied).toEqual(['identity.legacyNodes']);
  await expect(EdgeCoreSocket.open(hub.port('websocket'), 'edge-8', old)).rejects.toThrow('403');
  const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-7', old);
  await eventually('it is listed', async () => (await listNodes(hub))[0]?.node === 'edge-7');
  expect((await renewAsEdgeCore(hub.port('https'), 'edge-8', old)).answer.status).toBe(403);
  const renewed = await renewAsEdgeCore(hub.port('https'), 'edge-7', old);
  expect(new X509Certificate(renewed.answer.body).subject).toBe('O=system:nodes\nCN=system:node:edge-7');
  edge.socket.close();
  const again = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-7', renewed.credentials);
  again.socket.close();
});

test('D6: with identity.allowLegacy its bearer is believed for a session, never for a certificate', async () => {
  await using hub = await startTestGateway({ settings: { 'identity.allowLegacy': 'true' } });
  const old = await mintNode(hub, 'edge-1', legacy);
  const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', old);
  edge.socket.close();
  expect((await renewAsEdgeCore(hub.port('https'), 'edge-1', old)).answer.status).toBe(401);
});
