import { expect, test } from 'vitest';
import { certificates } from '../../../src/admin/schemas/certificates.ts';
import { ownInfo } from '../../../src/admin/schemas/gateway.ts';
import { outcome, queued } from '../../../src/admin/schemas/messages.ts';
import { nodeInfo, nodeList } from '../../../src/admin/schemas/nodes.ts';
import { failure } from '../../../src/admin/schemas/shared.ts';
import { token } from '../../../src/admin/schemas/tokens.ts';
import { startAdmin } from './admin-fixture.ts';

interface Document {
  openapi: string;
  paths: Record<string, Record<string, { operationId: string; responses: object; parameters?: object[] }>>;
}

test('the document names every route, each operation once, and is served as JSON', async () => {
  await using hub = await startAdmin();
  const document = (await hub.get('/openapi.json')).json as Document;
  expect(document.openapi).toBe('3.1.0');
  expect(
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    ),
  ).toEqual([
    'get /api/v1/info',
    'get /api/v1/certificates',
    'get /api/v1/backup',
    'post /api/v1/certificates/hub/rotate',
    'get /api/v1/certificates/served',
    'post /api/v1/certificates/accept',
    'post /api/v1/tokens',
    'post /api/v1/tokens/revoke-all',
    'get /api/v1/nodes/history',
    'get /api/v1/nodes/forecast',
    'post /api/v1/nodes/{node}/forget',
    'get /api/v1/nodes',
    'get /api/v1/nodes/{node}',
    'post /api/v1/nodes/{node}/disconnect',
    'post /api/v1/nodes/{node}/messages',
    'post /api/v1/messages',
    'get /api/v1/revocations',
    'post /api/v1/revocations',
    'get /api/v1/revocations/replicas',
    'get /api/v1/revocations/{id}',
    'post /api/v1/revocations/quarantine',
    'post /api/v1/revocations/lift',
    'get /api/v1/ca/rollover',
    'post /api/v1/ca/rollover/{step}',
    'get /api/v1/rejections',
    'get /api/v1/replicas',
    'get /api/v1/events',
    'get /metrics',
    'get /livez',
    'get /readyz',
    'get /',
  ]);
  const ids = Object.values(document.paths).flatMap((methods) =>
    Object.values(methods).map(({ operationId }) => operationId),
  );
  expect(new Set(ids).size).toBe(ids.length);
  expect(document.paths['/api/v1/nodes/{node}']!.get!.parameters).toMatchObject([
    { name: 'node', in: 'path', required: true, schema: { type: 'string' } },
  ]);
});

test('schemas have names, references lead to them, and what a body must fulfil can be seen', async () => {
  await using hub = await startAdmin();
  const document = (await hub.get('/openapi.json')).json as Document & {
    components: { schemas: Record<string, { oneOf?: unknown; properties: Record<string, object> }> };
  };
  const { schemas: named } = document.components;
  const referred = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)];
  expect(referred.length).toBeGreaterThan(40);
  for (const [, name] of referred) expect(named).toHaveProperty(name!);
  expect(Object.keys(named)).toEqual(expect.arrayContaining(['NodeInfo', 'TokenBody', 'HubEvent']));
  expect(named.TokenBody!.oneOf).toHaveLength(2);
  expect(named.RevokeBody!.properties.node).toMatchObject({ maxLength: 253, pattern: expect.any(String) });
  expect(JSON.stringify(named.Failure)).toContain('"NODE_NOT_FOUND"');
  expect(document.paths['/api/v1/events']!.get!.responses).toMatchObject({
    200: {
      content: {
        'text/event-stream': { 'x-event-data': { $ref: '#/components/schemas/HubEvent' } },
      },
    },
  });
});

test('a wrong method is 405 with those there are, another body than JSON 415, before anything is done', async () => {
  await using hub = await startAdmin();
  for (const method of ['DELETE', 'PUT', 'TRACE', 'OPTIONS']) {
    const answer = await hub.get('/api/v1/nodes/edge-1', { method });
    expect(answer, method).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
  }
  const form = await hub.get('/api/v1/tokens/revoke-all', {
    method: 'POST',
    body: 'a=b',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
  expect(form.status).toBe(415);
  expect(form.json).toMatchObject({ error: { code: 'MEDIA_TYPE_UNSUPPORTED' } });
});

test('what is answered has the documented shape', async () => {
  await using hub = await startAdmin();
  const strictly = (shape: { parse(value: unknown): unknown }, value: unknown) =>
    expect(shape.parse(value)).toEqual(value);
  strictly(ownInfo, (await hub.get('/api/v1/info')).json);
  strictly(nodeList, (await hub.get('/api/v1/nodes')).json);
  strictly(nodeInfo, (await hub.get('/api/v1/nodes/edge-1')).json);
  strictly(certificates, (await hub.get('/api/v1/certificates')).json);
  strictly(token, (await hub.post('/api/v1/tokens', { fleet: true })).json);
  strictly(failure, (await hub.get('/api/v1/nodes/edge-9')).json);
  const body = { resource: 'a/b', operation: 'update', content: 1 };
  strictly(queued, (await hub.post('/api/v1/nodes/edge-1/messages', body)).json);
  hub.nodes.result = () => ({ kind: 'dropped', reason: 'queue' });
  strictly(outcome, (await hub.post('/api/v1/nodes/edge-1/messages', body)).json);
});
