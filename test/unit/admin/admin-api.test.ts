import { request } from 'node:https';
import { describe, expect, test } from 'vitest';
import { batchAnswer } from '../../../src/admin/schemas/messages.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { eventually } from '../../support/eventually.ts';
import { bundleOf } from '../../support/pki/fixed-source.ts';
import { mintServer } from '../../support/pki/pki.ts';
import { someNode, startAdmin } from './admin-fixture.ts';

const errorOf = (answer: { json: unknown }) => (answer.json as { error: Record<string, unknown> }).error;

describe('nodes', () => {
  test('are listed and shown', async () => {
    await using hub = await startAdmin();
    expect((await hub.get('/api/v1/nodes')).json).toEqual({ items: [someNode], unanswered: [] });
    expect((await hub.get('/api/v1/nodes/edge-1')).json).toEqual(someNode);
    const missing = await hub.get('/api/v1/nodes/edge-9');
    expect([missing.status, errorOf(missing)]).toEqual([
      404,
      {
        code: 'NODE_NOT_FOUND',
        message: 'node edge-9 has no session',
        fix: 'check the name with `sallyport nodes list`',
        details: { node: 'edge-9' },
      },
    ]);
  });

  test('are disconnected, with or without an empty JSON body', async () => {
    await using hub = await startAdmin();
    expect((await hub.post('/api/v1/nodes/edge-1/disconnect')).status).toBe(204);
    expect((await hub.post('/api/v1/nodes/edge-1/disconnect', {})).status).toBe(204);
    expect((await hub.post('/api/v1/nodes/edge-9/disconnect')).status).toBe(404);
    expect(hub.nodes.disconnected).toEqual(['edge-1', 'edge-1', 'edge-9']);
  });
});

describe('messages', () => {
  const message = { resource: 'default/configmap/demo', operation: 'insert', content: { a: [1, null] } };

  test('are queued by default, as a message EdgeCore takes from the edge controller', async () => {
    await using hub = await startAdmin();
    const answer = await hub.post('/api/v1/nodes/edge-1/messages', { ...message, resourceVersion: '7' });
    const [request] = hub.nodes.sent;
    expect([answer.status, answer.json]).toEqual([
      202,
      { kind: 'queued', msgId: request!.message.header.msg_id },
    ]);
    expect(request).toMatchObject({
      node: 'edge-1',
      wait: 'queued',
      message: {
        header: { resourceversion: '7' },
        route: {
          source: 'edgecontroller',
          group: 'resource',
          operation: 'insert',
          resource: 'default/configmap/demo',
        },
        content: { a: [1, null] },
      },
    });
  });

  test('carry null when they have no content', async () => {
    await using hub = await startAdmin();
    const { content: _, ...rest } = message;
    expect((await hub.post('/api/v1/nodes/edge-1/messages', rest)).status).toBe(202);
    expect(hub.nodes.sent[0]!.message.content).toBeNull();
  });

  test('J3: keep the id their sender gives, so that a call without an answer can be repeated', async () => {
    await using hub = await startAdmin();
    const id = '5b7ce0a1-9c3f-4b6e-8f5e-0c7d3b1a2f4d';
    const answer = await hub.post('/api/v1/nodes/edge-1/messages', { ...message, id });
    expect([answer.status, answer.json]).toEqual([202, { kind: 'queued', msgId: id }]);
    expect(hub.nodes.sent[0]!.message.header.msg_id).toBe(id);
  });

  test('are not called off once they are answered', async () => {
    await using hub = await startAdmin();
    await hub.post('/api/v1/nodes/edge-1/messages', message);
    await hub.get('/api/v1/nodes/edge-1');
    expect(hub.nodes.sent[0]!.signal!.aborted).toBe(false);
  });

  test('wait=ack answers with what became of the message, or the error of the hub', async () => {
    await using hub = await startAdmin();
    hub.nodes.result = () => ({ kind: 'acknowledged' });
    const body = { ...message, wait: 'ack', timeoutMs: 500 };
    const answer = await hub.post('/api/v1/nodes/edge-1/messages', body);
    expect([answer.status, answer.json]).toMatchObject([200, { kind: 'acknowledged' }]);
    expect(hub.nodes.sent[0]).toMatchObject({ wait: 'ack', timeoutMs: 500 });
    hub.nodes.result = () => Promise.reject(new SallyportError('NOT_ACKNOWLEDGED', { node: 'edge-1' }));
    const late = await hub.post('/api/v1/nodes/edge-1/messages', body);
    expect([late.status, errorOf(late).code]).toEqual([504, 'NOT_ACKNOWLEDGED']);
  });

  test('waiting ends when the caller goes away', async () => {
    await using hub = await startAdmin();
    hub.nodes.result = () => new Promise(() => {});
    void hub.post('/api/v1/nodes/edge-1/messages', { ...message, wait: 'ack' }).catch(() => {});
    await expect.poll(() => hub.nodes.sent.length).toBe(1);
    const signal = hub.nodes.sent[0]!.signal!;
    expect(signal.aborted).toBe(false);
    hub.listener.stop({ name: 'Draining' } as never, AbortSignal.abort());
    await expect.poll(() => signal.aborted).toBe(true);
  });

  test.each([
    [{}, 'body.resource'],
    [{ ...message, operation: '' }, 'body.operation'],
    [{ ...message, wait: 'later' }, 'body.wait'],
    [{ ...message, timeoutMs: -1 }, 'body.timeoutMs'],
    [{ ...message, extra: 1 }, 'body'],
    [{ ...message, id: '' }, 'body.id'],
    [{ ...message, id: 'a b' }, 'body.id'],
    [{ ...message, id: 'x'.repeat(129) }, 'body.id'],
    ['text', 'body'],
    [[], 'body'],
  ])('%j is refused and the field named', async (body, field) => {
    await using hub = await startAdmin();
    const answer = await hub.post('/api/v1/nodes/edge-1/messages', body);
    expect([answer.status, errorOf(answer).code]).toEqual([400, 'BAD_REQUEST']);
    expect(errorOf(answer).message).toContain(`${field}:`);
    expect(hub.nodes.sent).toEqual([]);
  });

  test('a batch: each message has its outcome, content is passed byte for byte, one failure is not that of others', async () => {
    await using hub = await startAdmin();
    hub.nodes.result = () => {
      const { node, wait } = hub.nodes.sent.at(-1)!;
      if (node === 'edge-2') throw new SallyportError('NODE_OFFLINE', { node });
      return wait === 'ack' ? { kind: 'acknowledged' } : { kind: 'queued' };
    };
    const item = (node: string, more: string) =>
      `{"node":"${node}","resource":"a/b","operation":"update",${more}}`;
    const items = [
      item('edge-1', '"content": 12345678901234567890.10'),
      item('edge-2', '"wait":"ack","id":"m-2"'),
      item('edge-1', '"wait":"ack","content":{"b":1,"a":"\\u0041"}'),
    ];
    const answer = await hub.post('/api/v1/messages', undefined, {
      body: `{"items": [${items.join(' ,\n')}]}`,
      headers: { 'content-type': 'application/json' },
    });
    expect(answer.status).toBe(200);
    batchAnswer.parse(answer.json);
    expect(answer.json).toMatchObject({
      items: [
        { node: 'edge-1', kind: 'queued', msgId: expect.any(String) },
        { node: 'edge-2', kind: 'failed', msgId: 'm-2', error: { code: 'NODE_OFFLINE' } },
        { node: 'edge-1', kind: 'acknowledged' },
      ],
    });
    expect(hub.nodes.sent.map(({ message }) => message.body.bytes.toString())).toEqual([
      '12345678901234567890.10',
      'null',
      '{"b":1,"a":"\\u0041"}',
    ]);
  });

  test.each([
    [{}, 'body.items'],
    [{ items: [] }, 'body.items'],
    [{ items: {} }, 'body'],
    [{ items: [1] }, 'body'],
    [{ items: [message] }, 'body.items.0.node'],
    [
      {
        items: [
          { ...message, node: 'edge-1' },
          { ...message, node: 'EDGE' },
        ],
      },
      'body.items.1.node',
    ],
    [{ items: Array.from({ length: 1_001 }, () => ({ ...message, node: 'edge-1' })) }, 'body'],
  ])('the batch %.60j is refused whole, and the field named', async (body, field) => {
    await using hub = await startAdmin();
    const answer = await hub.post('/api/v1/messages', body);
    expect([answer.status, errorOf(answer).code]).toEqual([400, 'BAD_REQUEST']);
    expect(errorOf(answer).message).toContain(`${field}:`);
    expect(hub.nodes.sent).toEqual([]);
  });

  test.each([
    ['{', 'application/json', 400],
    ['{"__proto__":{"x":1}}', 'application/json', 400],
    ['resource=a', 'application/x-www-form-urlencoded', 415],
    [JSON.stringify({ ...message, content: 'x'.repeat(2000) }), 'application/json', 413],
  ])('the body %.30s of type %s is %i', async (body, type, status) => {
    await using hub = await startAdmin({ options: { bodyBytes: 1000 } });
    const answer = await hub.post('/api/v1/nodes/edge-1/messages', undefined, {
      body,
      headers: { 'content-type': type },
    });
    expect(answer.status).toBe(status);
    expect(hub.nodes.sent).toEqual([]);
  });

  test('a node name that is none is refused before anything is asked', async () => {
    await using hub = await startAdmin();
    const answer = await hub.post('/api/v1/nodes/Not_A_Name/disconnect');
    expect([answer.status, hub.nodes.disconnected]).toEqual([400, []]);
  });
});

describe('certificates and tokens', () => {
  test('each listener tells what it serves beside what is wanted', async () => {
    await using hub = await startAdmin();
    const { fingerprint } = hub.source.current();
    const answer = await hub.get('/api/v1/certificates');
    expect(answer.json).toMatchObject({
      wantedFingerprint: fingerprint,
      listeners: [
        { name: 'https', address: '[::1]:10002', servedFingerprint: fingerprint, servesWanted: true },
        { name: 'admin', address: '127.0.0.1:10010', servesWanted: false },
      ],
    });
    const rotated = await hub.post('/api/v1/certificates/hub/rotate', {});
    expect([rotated.status, hub.calls]).toEqual([200, ['rotate']]);
  });

  test('a token is for a node or the fleet, never both, never neither', async () => {
    await using hub = await startAdmin();
    const forNode = await hub.post('/api/v1/tokens', { node: 'edge-1', ttlMs: 5000 });
    expect(forNode.json).toEqual({ token: 'edge-1 5000', expiresAt: '1970-01-01T00:00:00.000Z' });
    expect((await hub.post('/api/v1/tokens', { fleet: true })).json).toMatchObject({ token: 'fleet' });
    for (const body of [{}, { node: 'edge-1', fleet: true }, { fleet: true, ttlMs: 1 }, { node: 'A B' }])
      expect((await hub.post('/api/v1/tokens', body)).status).toBe(400);
    expect((await hub.post('/api/v1/tokens')).status).toBe(400);
    expect((await hub.post('/api/v1/tokens/revoke-all')).status).toBe(204);
    expect(hub.calls).toEqual(['revoke']);
  });

  test('the hub certificate is swapped here too, and open connections stay', async () => {
    await using hub = await startAdmin();
    const next = bundleOf({ ca: hub.ca, server: await mintServer(hub.ca) });
    hub.listener.applyBundle(next);
    expect(hub.listener.servedFingerprint()).toBe(next.fingerprint);
    expect((await hub.get('/api/v1/info')).json).toMatchObject({ version: '1.2.3', caSha256: hub.ca.sha256 });
  });
});

test('metrics are in the exposition format', async () => {
  await using hub = await startAdmin();
  hub.metrics.sessions.set({ transport: 'websocket', group: 'X25519', post_quantum: 'no' }, 3);
  const answer = await hub.get('/metrics');
  expect(answer.headers['content-type']).toMatch(/^text\/plain; version=/);
  expect(answer.text).toContain(
    'sallyport_sessions{transport="websocket",group="X25519",post_quantum="no"} 3',
  );
});

test('H2: /readyz tells which check fails, without a certificate', async () => {
  await using hub = await startAdmin();
  hub.health.register(
    'draining',
    ['readyz'],
    () => {
      throw new Error('the gateway is shutting down');
    },
    'everybody',
  );
  const answer = await hub.get('/readyz', { as: undefined });
  expect([answer.status, answer.text]).toEqual([
    500,
    '[-]draining failed: the gateway is shutting down\nreadyz check failed\n',
  ]);
  expect((await hub.get('/readyz/draining', { as: undefined })).status).toBe(500);
  expect((await hub.get('/livez', { as: undefined })).text).toBe('ok');
});

test('what a check quotes is told to administrators and withheld from strangers', async () => {
  await using hub = await startAdmin();
  hub.health.register('store', ['readyz'], () => {
    throw new Error('casecret.yaml:3:7 is not YAML');
  });
  expect((await hub.get('/readyz', { as: undefined })).text).toContain('[-]store failed: reason withheld');
  expect((await hub.get('/readyz')).text).toContain('[-]store failed: casecret.yaml:3:7 is not YAML');
  expect((await hub.get('/readyz/store', { as: undefined })).text).not.toContain('casecret');
});

test('a caller that goes away while its message waits ends the wait, and is no failure in the log', async () => {
  const log = capturedLog();
  await using hub = await startAdmin({ log });
  const waiting = Promise.withResolvers<AbortSignal>();
  hub.nodes.result = () => {
    const signal = hub.nodes.sent.at(-1)!.signal!;
    waiting.resolve(signal);
    // As the hub does: who waits no more is told why.
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const { host, port } = hub.listener.address();
  const { pem: cert, key } = hub.admin;
  const options = { host, port, cert, key, ca: hub.ca.pem, agent: false, method: 'POST' };
  const headers = { 'content-type': 'application/json' };
  const outgoing = request({ ...options, headers, path: '/api/v1/nodes/edge-1/messages' });
  outgoing.on('error', () => {});
  outgoing.end(JSON.stringify({ resource: 'r', operation: 'update', content: 1, wait: 'ack' }));
  const signal = await waiting.promise;
  const lines = () => log.lines.filter(({ fields }) => fields.route === '/api/v1/nodes/:node/messages');
  expect([signal.aborted, lines()]).toEqual([false, []]);
  outgoing.destroy();
  await eventually('the answer was dealt with', () => lines().length > 0);
  expect(signal.aborted).toBe(true);
  expect(lines()).toMatchObject([{ level: 'debug' }]);
  expect(log.lines.filter(({ level }) => level === 'error')).toEqual([]);

  // What fails for somebody who is still there is one.
  hub.nodes.result = () => Promise.reject(new DOMException('cut off', 'AbortError'));
  const body = { resource: 'r', operation: 'update', content: 1, wait: 'ack' };
  expect((await hub.post('/api/v1/nodes/edge-1/messages', body)).status).toBe(500);
  expect(lines().at(-1)).toMatchObject({ level: 'error' });
});

test('a name that no node has ever had is shut out, and whoever wrote it is told', async () => {
  await using hub = await startAdmin();
  const day = (number: number) => new Date(Date.UTC(2026, 0, number)).toISOString();
  hub.history.certificateIssued({
    ...{ node: 'edge-1', how: 'token', serial: '0A', issuerSha256: 'ab'.repeat(32) },
    ...{ notBefore: day(1), notAfter: day(90) },
  });
  for (const [path, more] of [
    ['/api/v1/revocations/quarantine', {}],
    ['/api/v1/revocations', { reason: 'keyCompromise' }],
  ] as const) {
    const known = await hub.post(path, { node: 'edge-1', ...more });
    expect([known.status, known.json]).toEqual([200, expect.not.objectContaining({ unknownNode: true })]);
    const unknown = await hub.post(path, { node: 'edge-l', ...more });
    expect([unknown.status, unknown.json]).toMatchObject([200, { unknownNode: true, complete: true }]);
  }
});
