import { expect, test } from 'vitest';
import { createLogger } from '../../../src/core/pino-log.ts';
import { rawConnection, readToEnd } from '../../support/edges/https-client.ts';
import { mintCa, mintEdge, OID } from '../../support/pki/pki.ts';
import { mintAdmin, startAdmin } from './admin-fixture.ts';

const DAY = 86_400_000;
const paths = ['/api/v1/info', '/metrics', '/openapi.json', '/api/v1/events', '/nothing', '/healthz'];

const errorOf = (answer: { json: unknown }) => (answer.json as { error: Record<string, unknown> }).error;

test('without a certificate, everything but the probes is 401', async () => {
  await using hub = await startAdmin();
  for (const path of paths) {
    const answer = await hub.get(path, { as: undefined });
    expect([path, answer.status, errorOf(answer).code]).toEqual([path, 401, 'NOT_AUTHENTICATED']);
  }
  for (const path of ['/livez', '/readyz?verbose'])
    expect((await hub.get(path, { as: undefined })).status).toBe(200);
});

test('certificates of another CA, out of date, or without clientAuth are 401 and told why', async () => {
  await using hub = await startAdmin();
  const expired = { notBefore: new Date(Date.now() - 9 * DAY), notAfter: new Date(Date.now() - DAY) };
  const cases = [
    [await mintAdmin(await mintCa()), /not issued by a CA/],
    [await mintAdmin(hub.ca, expired), /expired 1 day ago/],
    [await mintAdmin(hub.ca, { usages: [OID.serverAuth] }), /clientAuth/],
    [await mintAdmin(hub.ca, { usages: [] }), /clientAuth/],
  ] as const;
  for (const [as, reason] of cases) {
    const answer = await hub.get('/api/v1/info', { as });
    expect([answer.status, errorOf(answer).code]).toEqual([401, 'PEER_REFUSED']);
    expect(errorOf(answer).message).toMatch(reason);
  }
});

test('a good certificate of anybody but an administrator is 403: edges do not get in', async () => {
  await using hub = await startAdmin();
  const others = [
    await mintEdge(hub.ca, 'edge-1'),
    await mintEdge(hub.ca, 'x', { subject: 'O=sallyport:admins2,CN=admin' }),
    await mintEdge(hub.ca, 'x', { subject: 'O=system:nodes,O=sallyport:admins,CN=system:node:edge-1' }),
    await mintEdge(hub.ca, 'x', { subject: 'OU=sallyport:admins,CN=admin' }),
    await mintEdge(hub.ca, 'x', { subject: 'CN=O=sallyport:admins' }),
    await mintEdge(hub.ca, 'x', { subject: 'O=sallyport:admins' }),
  ];
  for (const as of others) {
    for (const path of ['/api/v1/info', '/nothing']) {
      const answer = await hub.get(path, { as });
      expect([answer.status, errorOf(answer).code]).toEqual([403, 'FORBIDDEN']);
    }
  }
  expect((await hub.get('/api/v1/info')).status).toBe(200);
  expect(await hub.metrics.expose()).toContain(
    `sallyport_handshake_failures_total{transport="admin",reason="not-admin"} ${others.length * 2}`,
  );
});

test('P3: a browser that holds the certificate changes nothing, whatever page asks it to', async () => {
  await using hub = await startAdmin();
  const { host, port } = hub.listener.address();
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: `https://${host}:${port}` },
    { 'sec-fetch-site': 'same-origin' },
    { 'sec-fetch-site': 'none' },
  ]) {
    const answer = await hub.post('/api/v1/tokens/revoke-all', undefined, { headers });
    expect([answer.status, hub.calls], JSON.stringify(headers)).toEqual([403, []]);
  }
  expect((await hub.post('/api/v1/tokens/revoke-all')).status).toBe(204);
});

test('bad HTTP and unreadable paths are answered in JSON, and the listener goes on', async () => {
  await using hub = await startAdmin();
  const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca, as: hub.admin });
  const answer = readToEnd(socket);
  socket.write('\x00\x01 hello\r\n\r\n');
  expect(await answer).toMatch(/^HTTP\/1.1 400 [\s\S]*\r\n\r\n\{"error":\{"code":"BAD_REQUEST"/);
  const unreadable = await hub.get('/api/v1/nodes/%zz');
  expect([unreadable.status, errorOf(unreadable).code]).toEqual([400, 'BAD_REQUEST']);
  expect((await hub.get('/livez')).status).toBe(200);
});

test('A10: who did what is logged, and no token is', async () => {
  let logged = '';
  const write = (line: string) => {
    logged += line;
  };
  const log = createLogger({ level: 'trace', format: 'json', destination: { write } });
  await using hub = await startAdmin({ log });
  const minted = await hub.post('/api/v1/tokens', { fleet: true });
  expect((minted.json as { token: string }).token).toBe('fleet');
  expect(logged).toMatch(/"admin":"admin","method":"POST","path":"\/api\/v1\/tokens".*"admin action"/);
  expect(logged).not.toContain('"fleet"');
});

test('G7: an administrator whose certificate is revoked is out at once, and cannot revoke the own one', async () => {
  await using fixture = await startAdmin();
  const other = await mintAdmin(fixture.ca, { subject: 'O=sallyport:admins,CN=bob' });
  const serial = other.certificate.serialNumber;
  const own = await fixture.post('/api/v1/revocations', { serial }, { as: other });
  expect([own.status, own.json]).toMatchObject([409, { error: { code: 'REVOKES_ITSELF' } }]);
  expect((await fixture.get('/api/v1/info', { as: other })).status).toBe(200);
  const done = await fixture.post('/api/v1/revocations', { serial, reason: 'affiliationChanged' });
  expect(done.json).toMatchObject({ revocation: { kind: 'certificate', by: 'admin' }, complete: true });
  expect((await fixture.get('/api/v1/info', { as: other })).status).toBe(401);
  expect((await fixture.get('/api/v1/info')).status).toBe(200);
});

test('D9: a revocation without exactly one target, or with an unknown reason, is refused', async () => {
  await using fixture = await startAdmin();
  for (const body of [
    {},
    { node: 'edge-1', serial: '01' },
    { node: 'Not A Node' },
    { serial: 'xyz' },
    { serial: '1'.repeat(41) },
    { node: 'edge-1', reason: 'removeFromCRL' },
    { node: 'edge-1', note: 'a\nb' },
    { node: 'edge-1', more: 1 },
  ])
    expect((await fixture.post('/api/v1/revocations', body)).status, JSON.stringify(body)).toBe(400);
  expect((await fixture.get('/api/v1/revocations/r9')).status).toBe(404);
  expect((await fixture.post('/api/v1/revocations/lift', { serial: '01', rejoin: true })).status).toBe(404);
  expect(fixture.revocations.list().items).toEqual([]);
});

test.each(['cross-site', 'same-site'])(
  'a browser on a page of another site (%s) gets nothing, not even the events',
  async (site) => {
    await using fixture = await startAdmin();
    for (const path of ['/api/v1/info', '/api/v1/events', '/'])
      expect((await fixture.get(path, { headers: { 'sec-fetch-site': site } })).status, path).toBe(403);
    expect((await fixture.get('/api/v1/info', { headers: { 'sec-fetch-site': 'same-origin' } })).status).toBe(
      200,
    );
    expect((await fixture.get('/', { headers: { 'sec-fetch-site': 'none' } })).status).toBe(200);
  },
);

test('a request for a host that is not this gateway is refused, so a name cannot be rebound to it', async () => {
  await using fixture = await startAdmin();
  const status = async (host: string) => {
    const socket = await rawConnection({ to: fixture.listener.address(), ca: fixture.ca, as: fixture.admin });
    socket.write(`GET /api/v1/info HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    return Number((await readToEnd(socket)).split(' ')[1]);
  };
  for (const host of ['evil.example', 'hub.example.evil.example', 'wild.example', 'x.y.wild.example:1'])
    expect(await status(host), host).toBe(421);
  for (const host of [
    'hub.example',
    'HUB.example:10010',
    'a.wild.example',
    'localhost:1',
    '127.0.0.1',
    '[::1]:10010',
  ])
    expect(await status(host), host).toBe(200);
});

test('P4: a viewer reads everything and changes nothing; what is refused says how, is counted and in the audit', async () => {
  await using hub = await startAdmin();
  const as = await mintAdmin(hub.ca, { subject: 'O=sallyport:viewers,CN=eve' });
  for (const path of ['/api/v1/nodes', '/api/v1/certificates', '/metrics', '/openapi.json', '/'])
    expect((await hub.get(path, { as })).status, path).toBe(200);
  expect((await hub.get('/api/v1/info', { as })).json).toMatchObject({
    caller: { name: 'eve', role: 'viewer' },
  });
  expect((await hub.get('/api/v1/info')).json).toMatchObject({ caller: { name: 'admin', role: 'operator' } });

  const document = (await hub.get('/openapi.json', { as })).json as { paths: Record<string, object> };
  const changes = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).flatMap((method) => (method === 'get' ? [] : [{ method, path }])),
  );
  expect(changes.length).toBeGreaterThan(10);
  for (const { method, path } of [...changes, { method: 'delete', path: '/nothing' }]) {
    const answer = await hub.get(path.replace(/{\w+}/g, 'edge-1'), { as, method: method.toUpperCase() });
    expect([path, answer.status, errorOf(answer)]).toMatchObject([
      path,
      403,
      { code: 'OPERATOR_NEEDED', message: expect.stringContaining('eve is a viewer') },
    ]);
    expect(errorOf(answer).fix).toContain('sallyport certs issue operator');
  }
  expect([hub.calls, hub.nodes.disconnected, hub.nodes.sent]).toEqual([[], [], []]);
  expect(await hub.metrics.expose()).toContain(
    `sallyport_handshake_failures_total{transport="admin",reason="not-operator"} ${changes.length + 1}`,
  );
  // One line a minute for each address and person.
  expect(hub.audit.entries).toMatchObject([
    { action: 'admin-refused', who: 'eve', facts: { reason: 'not-operator' } },
  ]);
});
