import { randomUUID, X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  EdgeCoreSocket,
  goGet,
  joinAsEdgeCore,
  makeRequest,
  renewAsEdgeCore,
} from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';

let hub: TestGateway;
beforeAll(async () => {
  hub = await startTestGateway();
});
afterAll(() => hub[Symbol.asyncDispose]());

const fleetToken = async () =>
  (await hub.admin.post<{ token: string }>('/api/v1/tokens', { fleet: true })).token;

describe('an unmodified EdgeCore', () => {
  test('joins with the fleet token, connects, keeps alive, gets a message and acknowledges it, and renews', async () => {
    const joined = await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token: await fleetToken() });
    expect(joined.answer.status).toBe(200);
    const certificate = new X509Certificate(joined.answer.body);
    expect(certificate.subject).toBe('O=system:nodes\nCN=system:node:edge-1');
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);

    const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', joined.credentials);
    edge.keepalive();
    edge.send(
      { source: 'twin', group: 'twin', operation: 'get', resource: 'membership/detail' },
      '{"event_id":"1"}',
    );
    const sending = hub.admin.post<{ kind: string }>('/api/v1/nodes/edge-1/messages', {
      resource: 'default/configmap/demo',
      operation: 'insert',
      content: { data: { a: '1' } },
      source: 'edgecontroller',
      group: 'resource',
      resourceVersion: '5',
      wait: 'ack',
    });
    await eventually('the message arrives', () => edge.received.length > 0);
    const [message] = edge.received;
    expect(message!.route).toEqual({
      source: 'edgecontroller',
      group: 'resource',
      operation: 'insert',
      resource: 'default/configmap/demo',
    });
    expect(message!.header.resourceversion).toBe('5');
    expect(edge.raw[0]!.endsWith('}\n')).toBe(true);
    edge.acknowledge(message!);
    expect((await sending).kind).toBe('acknowledged');
    const shown = await hub.admin.get<{ transport: string; messagesReceived: number }>(
      '/api/v1/nodes/edge-1',
    );
    expect(shown.transport).toBe('websocket');

    const renewed = await renewAsEdgeCore(hub.port('https'), 'edge-1', joined.credentials);
    expect(renewed.answer.status).toBe(200);
    expect(new X509Certificate(renewed.answer.body).serialNumber).not.toBe(certificate.serialNumber);
    edge.socket.close();
    const again = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', renewed.credentials);
    again.keepalive();
    again.socket.close();
  });

  test('no data of EdgeCore, which never sets sync, is answered by the hub; control is, at once', async () => {
    const { credentials } = await joinAsEdgeCore(hub.port('https'), {
      node: 'edge-sync',
      token: await fleetToken(),
    });
    const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-sync', credentials);
    const say = (operation: string) => {
      const header = { msg_id: randomUUID(), timestamp: Date.now(), sync: false };
      const route = { source: 'edged', group: 'resource', operation, resource: 'default/node/edge-sync' };
      edge.socket.send(`${JSON.stringify({ header, route, content: {} })}\n`);
      return header.msg_id;
    };
    for (const operation of ['query', 'patch', 'update']) say(operation);
    const control = say('ping');
    await eventually('the answer', () => edge.received.length > 0);
    expect(edge.received.map(({ header, content }) => [header.parent_msg_id, content])).toEqual([
      [control, 'ack'],
    ]);
    edge.socket.close();
  });

  test("D1: an old EdgeCore's generic subject gets the subject of its node", async () => {
    const { answer } = await joinAsEdgeCore(hub.port('https'), {
      node: 'edge-old',
      token: await fleetToken(),
      subject: 'O=kubeEdge, CN=kubeedge.io',
    });
    expect(new X509Certificate(answer.body).subject).toBe('O=system:nodes\nCN=system:node:edge-old');
  });

  test('D1: a CSR that names another node is refused with 403 and one plain line', async () => {
    const { answer } = await joinAsEdgeCore(hub.port('https'), {
      node: 'edge-2',
      token: await fleetToken(),
      subject: 'O=system:nodes, CN=system:node:edge-3',
    });
    expect(answer.status).toBe(403);
    expect(answer.body.toString().trim()).toMatch(/^[^\n]+$/);
  });

  test("G6: KubeEdge's join tool asks for the node as a stranger and is told 404", async () => {
    const answer = await goGet(hub.port('https'), '/node/edge-1');
    expect([answer.status, answer.body.toString().trim()]).toEqual([404, 'Node not found']);
  });

  test('E5: a token for one node works once, and for no other node', async () => {
    const token = await hub.nodeToken('edge-5');
    expect((await joinAsEdgeCore(hub.port('https'), { node: 'edge-6', token })).answer.status).toBe(403);
    expect((await joinAsEdgeCore(hub.port('https'), { node: 'edge-5', token })).answer.status).toBe(200);
    const second = await joinAsEdgeCore(hub.port('https'), { node: 'edge-5', token });
    expect([second.answer.status, second.answer.headers['sallyport-reason']]).toEqual([401, 'token-used']);
  });

  test('G1: the certificate of one node with the name of another never gets past the upgrade', async () => {
    const attacker = await joinAsEdgeCore(hub.port('https'), { node: 'attacker', token: await fleetToken() });
    await expect(EdgeCoreSocket.open(hub.port('websocket'), 'victim', attacker.credentials)).rejects.toThrow(
      '403',
    );
  });

  test('D8, E6: no body is 400, no token is 401, another scheme is 401', async () => {
    const { csr } = await makeRequest('O=system:nodes, CN=system:node:edge-9');
    const [jwtHash] = (await fleetToken()).split('.');
    expect(jwtHash).toHaveLength(64);
    expect(
      (
        await goGet(hub.port('https'), '/edge.crt', {
          headers: { NodeName: 'edge-9', Authorization: 'Bearer x' },
        })
      ).status,
    ).toBe(400);
    expect(
      (await goGet(hub.port('https'), '/edge.crt', { headers: { NodeName: 'edge-9' }, body: csr })).status,
    ).toBe(401);
    expect(
      (
        await goGet(hub.port('https'), '/edge.crt', {
          headers: { NodeName: 'edge-9', Authorization: 'Basic eDp5' },
          body: csr,
        })
      ).status,
    ).toBe(401);
  });
});
