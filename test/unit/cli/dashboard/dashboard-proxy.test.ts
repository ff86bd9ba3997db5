import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { AdminClient } from '../../../../src/cli/admin/admin-client.ts';
import { startDashboard, TOKEN_HEADER } from '../../../../src/cli/dashboard/dashboard-proxy.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { mintCa, mintServer } from '../../../support/pki/pki.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A gateway that says yes, and remembers what it was asked. */
function gateway(trouble?: Error) {
  const seen: Seen[] = [];
  const client: Pick<AdminClient, 'request'> = {
    request: async (method, path, { headers, body }) => {
      if (trouble) throw trouble;
      seen.push({ method, path, headers, body: String(body ?? '') });
      const headersOfAnswer = { 'content-type': 'application/json', etag: '"1"', connection: 'close' };
      return Object.assign(Readable.from(['{}']), {
        statusCode: 200,
        headers: headersOfAnswer,
      }) as unknown as IncomingMessage;
    },
  };
  return { client, seen };
}

/** @param url of the dashboard */
async function ask(
  url: string,
  { method = 'GET', path = '/api/v1/info', headers = {}, body = '' }: Partial<Seen> = {},
): Promise<{ status: number; text: string; headers: IncomingMessage['headers'] }> {
  const { port } = new URL(url);
  return new Promise((resolve, reject) => {
    const call: ClientRequest = request({ host: '127.0.0.1', port, path, method, headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () => resolve({ status: answer.statusCode!, text, headers: answer.headers }));
    });
    call.on('error', reject).end(body);
  });
}
const tokenOf = (url: string) => new URL(url).hash.replace('#token=', '');

test('P3: the page itself is for everybody on this machine, all else needs the token of this run', async () => {
  const { client, seen } = gateway();
  await using dashboard = await startDashboard({ client });
  const { url } = dashboard;
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]{43}$/);
  for (const path of ['/', '/ui/main.js', '/ui/vendor/preact.js'])
    expect((await ask(url, { path })).status, path).toBe(200);
  seen.length = 0;
  const token = tokenOf(url);
  for (const headers of [
    {},
    { [TOKEN_HEADER]: `${token}x` },
    { [TOKEN_HEADER]: '' },
    { cookie: `${TOKEN_HEADER}=${token}` },
  ])
    for (const path of [
      '/api/v1/info',
      '/metrics',
      '/ui/../api/v1/nodes',
      '/ui/%2e%2e/api/v1/nodes',
      '/ui\\..\\..\\metrics',
      `/api/v1/info?token=${token}`,
    ]) {
      const answer = await ask(url, { path, headers: headers as Record<string, string> });
      expect([answer.status, answer.text], path).toEqual([401, expect.stringContaining('DASHBOARD_TOKEN')]);
    }
  expect((await ask(url, { method: 'POST', path: '/' })).status).toBe(401);
  expect(seen).toEqual([]);
  expect((await ask(url, { headers: { [TOKEN_HEADER]: token } })).status).toBe(200);
});

test('P3: with the token, a request of another site or for another host is refused all the same', async () => {
  const { client, seen } = gateway();
  await using dashboard = await startDashboard({ client });
  const { url } = dashboard;
  const token = { [TOKEN_HEADER]: tokenOf(url) };
  const { port } = new URL(url);
  for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1', `[::1]:${port}`])
    expect((await ask(url, { headers: { ...token, host } })).status, host).toBe(421);
  for (const site of ['cross-site', 'same-site'])
    expect((await ask(url, { headers: { ...token, 'sec-fetch-site': site } })).status, site).toBe(403);
  expect(seen).toEqual([]);
  expect((await ask(url, { headers: { ...token, host: `localhost:${port}` } })).status).toBe(200);
});

test('what reaches the gateway is the wish and the reason; neither token nor anything that a browser adds', async () => {
  const { client, seen } = gateway();
  await using dashboard = await startDashboard({ client });
  const token = tokenOf(dashboard.url);
  const answer = await ask(dashboard.url, {
    method: 'POST',
    path: '/api/v1/tokens',
    headers: {
      [TOKEN_HEADER]: token,
      'content-type': 'application/json',
      'sallyport-reason': 'new%20hardware',
      cookie: 'a=b',
      authorization: 'Bearer mine',
      origin: 'http://127.0.0.1',
      'sec-fetch-site': 'same-origin',
    },
    body: '{"node":"edge-1"}',
  });
  expect([answer.status, answer.headers.etag]).toEqual([200, '"1"']);
  expect(seen).toEqual([
    {
      method: 'POST',
      path: '/api/v1/tokens',
      headers: { 'content-type': 'application/json', 'sallyport-reason': 'new%20hardware' },
      body: '{"node":"edge-1"}',
    },
  ]);
});

test('a gateway that is away, and a body that is too large, are told as the API tells errors', async () => {
  const { client } = gateway(
    new SallyportError('ADMIN_UNREACHABLE', { address: 'a:1', problem: 'ECONNREFUSED' }),
  );
  await using dashboard = await startDashboard({ client });
  const headers = { [TOKEN_HEADER]: tokenOf(dashboard.url) };
  const away = await ask(dashboard.url, { headers });
  expect(JSON.parse(away.text)).toMatchObject({
    error: { code: 'ADMIN_UNREACHABLE', fix: expect.any(String) },
  });
  const large = await ask(dashboard.url, { method: 'POST', headers, body: 'x'.repeat(70_000) });
  expect(JSON.parse(large.text)).toMatchObject({ error: { code: 'MESSAGE_TOO_LARGE' } });
});

test('a port that is taken is LISTEN_FAILED, which says what to do', async () => {
  const { client } = gateway();
  await using dashboard = await startDashboard({ client });
  const port = Number(new URL(dashboard.url).port);
  await expect(startDashboard({ client }, { port })).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: expect.stringContaining(`127.0.0.1:${port}`),
    fix: expect.stringContaining('--port'),
  });
});

test('a connection that the gateway has just closed costs the page no file, and no change is sent over one', async () => {
  const ca = await mintCa();
  const server = await mintServer(ca);
  const seen: string[] = [];
  const used = new WeakSet<Socket>();
  // As a gateway whose time for idle connections ends while the next request is under way.
  const hub = createServer({ cert: server.pem, key: server.key }, ({ method, socket }, response) => {
    if (used.has(socket)) return void socket.destroy();
    used.add(socket);
    seen.push(method!);
    response.end('{}');
  }).listen(0, '127.0.0.1');
  await once(hub, 'listening');
  const folder = temporaryFolder();
  const files = {
    ca: join(folder, 'ca.crt'),
    cert: join(folder, 'admin.crt'),
    key: join(folder, 'admin.key'),
  };
  writeFileSync(files.ca, ca.pem);
  writeFileSync(files.cert, server.pem);
  writeFileSync(files.key, server.key);
  const client = new AdminClient({
    address: `127.0.0.1:${(hub.address() as AddressInfo).port}`,
    ...files,
  });
  await using dashboard = await startDashboard({ client });
  const headers = { [TOKEN_HEADER]: tokenOf(dashboard.url) };
  for (const method of ['GET', 'GET', 'POST', 'GET'])
    expect((await ask(dashboard.url, { method, headers })).status, method).toBe(200);
  expect(seen).toEqual(['GET', 'GET', 'POST', 'GET']);
  hub.close();
});
