import { expect, test } from 'vitest';
import { mintAdmin, startAdmin } from './admin-fixture.ts';

const line = (action: string) => ({ action, from: '127.0.0.1' });

test('P1: a change is a line before it is made, and one before it is answered', async () => {
  await using hub = await startAdmin();
  await hub.post('/api/v1/nodes/edge-1/disconnect', undefined, {
    headers: { 'sallyport-reason': encodeURIComponent('lost, says Zoë') },
  });
  const what = 'POST /api/v1/nodes/edge-1/disconnect';
  const call = expect.stringMatching(/^[0-9a-f-]{36}$/);
  expect(hub.audit.entries).toEqual([
    {
      ...line('admin-asked'),
      who: 'admin',
      what,
      why: 'lost, says Zoë',
      node: 'edge-1',
      facts: { call, certificate: expect.stringMatching(/^[0-9A-F]+$/) },
    },
    { ...line('admin-answered'), who: 'admin', what, node: 'edge-1', facts: { call, status: 204 } },
  ]);
  const [asked, answered] = hub.audit.entries;
  expect(answered!.facts!.call).toBe(asked!.facts!.call);
});

test('what is refused has its code, and what was wished for is in the line', async () => {
  await using hub = await startAdmin();
  await hub.post('/api/v1/nodes/edge-9/disconnect');
  await hub.post('/api/v1/revocations', { node: 'edge-1', reason: 'keyCompromise', note: 'stolen' });
  await hub.post('/api/v1/ca/rollover/retire', { force: true });
  await hub.post('/api/v1/revocations', { node: 'edge-1', reason: 'because' });
  await hub.post('/api/v1/nothing');
  const told = hub.audit.entries.map(({ action, why, node, facts }) => ({ action, why, node, ...facts }));
  expect(told).toMatchObject([
    { action: 'admin-asked', node: 'edge-9' },
    { action: 'admin-answered', status: 404, code: 'NODE_NOT_FOUND' },
    { action: 'admin-asked', node: 'edge-1', why: 'keyCompromise: stolen' },
    { action: 'admin-answered', status: 200 },
    { action: 'admin-asked', step: 'retire', force: true },
    { action: 'admin-answered', status: 200 },
    { action: 'admin-asked', why: 'because' },
    { action: 'admin-answered', status: 400, code: 'BAD_REQUEST' },
    { action: 'admin-asked' },
    { action: 'admin-answered', status: 404, code: 'NOT_FOUND' },
  ]);
});

test('nothing that was asked for or answered in confidence is in a line', async () => {
  await using hub = await startAdmin();
  await hub.post('/api/v1/tokens', { node: 'edge-1', cakeydata: 'hidden' });
  const answer = await hub.post('/api/v1/tokens', { node: 'edge-1', ttlMs: 60_000 });
  expect(answer.json).toMatchObject({ token: 'edge-1 60000' });
  const text = JSON.stringify(hub.audit.entries);
  expect(text).toContain('/api/v1/tokens');
  expect(text).not.toContain('edge-1 60000');
  expect(text).not.toContain('hidden');
});

test('who reads, and who sends messages, leaves no line', async () => {
  await using hub = await startAdmin();
  await hub.get('/api/v1/nodes');
  await hub.post('/api/v1/nodes/edge-1/messages', { resource: 'app/x', operation: 'update' });
  expect(hub.audit.entries).toEqual([]);
});

test('P1: who is not let in is a line a minute', async () => {
  await using hub = await startAdmin();
  const as = await mintAdmin(hub.ca, { subject: 'CN=somebody' });
  for (const _ of ['first', 'again']) await hub.post('/api/v1/tokens/revoke-all', undefined, { as });
  expect(hub.audit.entries).toMatchObject([
    { ...line('admin-refused'), who: 'unknown', what: 'POST /api/v1/tokens/revoke-all' },
  ]);
  expect(hub.calls).toEqual([]);
});

test('P2: while nothing can be written, only what shuts somebody out is done', async () => {
  await using hub = await startAdmin();
  hub.audit.full = true;
  for (const path of ['/api/v1/tokens', '/api/v1/certificates/hub/rotate', '/api/v1/ca/rollover/prepare']) {
    const answer = await hub.post(path, {});
    expect([answer.status, answer.json]).toMatchObject([503, { error: { code: 'AUDIT_UNAVAILABLE' } }]);
  }
  expect((await hub.post('/api/v1/revocations/lift', { node: 'edge-1' })).status).toBe(503);
  expect([hub.calls, hub.rollover.requests]).toEqual([[], []]);
  expect((await hub.post('/api/v1/revocations/quarantine', { node: 'edge-1' })).status).toBe(200);
  expect((await hub.post('/api/v1/revocations', { node: 'edge-2', reason: 'keyCompromise' })).status).toBe(
    200,
  );
  expect((await hub.post('/api/v1/nodes/edge-1/disconnect')).status).toBe(204);
  expect((await hub.post('/api/v1/tokens/revoke-all')).status).toBe(204);
  expect((await hub.get('/api/v1/nodes')).status).toBe(200);
  hub.audit.full = false;
  expect((await hub.post('/api/v1/certificates/hub/rotate')).status).toBe(200);
});

test('a reason that is not percent-encoded is told so', async () => {
  await using hub = await startAdmin();
  const headers = { 'sallyport-reason': '%zz' };
  const answer = await hub.post('/api/v1/nodes/edge-1/disconnect', undefined, { headers });
  expect(answer.json).toMatchObject({ error: { code: 'BAD_REQUEST' } });
  expect(hub.nodes.disconnected).toEqual([]);
});
