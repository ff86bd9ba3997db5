import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { Agent } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { isSallyportError, SallyportError } from '../../core/errors.ts';
import { listenFailed } from '../../core/listen-failed.ts';
import type { AdminClient } from '../admin/admin-client.ts';

/** The header that the page shows its token with; its name is also in src/admin/ui/session.js. */
export const TOKEN_HEADER = 'sallyport-dashboard';
/** Nobody but this machine gets there. */
const HOST = '127.0.0.1';
/** Nothing that the page sends is larger, bytes. */
const MAX_BODY = 64 * 1024;
/** Of the page's headers, those that reach the gateway: nothing that says where they come from, no cookie. */
const FORWARDED = ['accept', 'content-type', 'if-none-match', 'last-event-id', 'sallyport-reason'] as const;
/** Of the gateway's headers, those that are about one connection (RFC 9110 §7.6.1). */
const HOP_BY_HOP: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

export interface Dashboard extends AsyncDisposable {
  /** What a browser opens. The token is in the fragment, which no browser sends to anybody. */
  readonly url: string;
}

/**
 * Stands between a browser and the admin API, and holds the credentials. It listens on 127.0.0.1 alone. What
 * is not the page itself needs the token in a header of its own, which no other page can send: so nothing
 * that a browser adds by itself, no cookie and no certificate, counts for anything.
 * @throws LISTEN_FAILED
 */
export async function startDashboard(
  { client }: { readonly client: Pick<AdminClient, 'request'> },
  { port = 0 }: { readonly port?: number } = {},
): Promise<Dashboard> {
  const token = randomBytes(32).toString('base64url');
  // The page is many files; a handshake for each would be felt.
  const agent = new Agent({ keepAlive: true });
  const server = createServer((request, response) => {
    const { port: bound } = server.address() as AddressInfo;
    const access = { token, hosts: [`${HOST}:${bound}`, `localhost:${bound}`] };
    answer(request, response, { client, access, agent }).catch((error) => fail(response, error));
  });
  server.listen(port, HOST);
  await once(server, 'listening').catch((cause) => {
    throw listenFailed('the dashboard', { host: HOST, port }, cause, '--port');
  });
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}/#token=${token}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      agent.destroy();
      await once(server, 'close');
    },
  };
}

interface Access {
  readonly token: string;
  readonly hosts: readonly string[];
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { client, access, agent }: { client: Pick<AdminClient, 'request'>; access: Access; agent: Agent },
): Promise<void> {
  // As the gateway will read it: `/ui/../api` is no part of the page.
  const { pathname, search } = new URL(request.url ?? '/', 'http://127.0.0.1');
  checkAccess(request, pathname, access);
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const { method = 'GET', headers } = request;
  const body = await readBody(request);
  const upstream = await client.request(method, `${pathname}${search}`, {
    headers: pick(headers),
    signal: gone.signal,
    ...(method === 'GET' ? { agent } : {}),
    ...(body.length > 0 ? { body } : {}),
  });
  const kept = Object.entries(upstream.headers).filter(([name]) => !HOP_BY_HOP.has(name));
  response.writeHead(upstream.statusCode ?? 502, Object.fromEntries(kept));
  response.flushHeaders();
  // Either side may go at any time; whoever is left has heard it.
  await pipeline(upstream, response).catch(() => {});
}

/**
 * A name of somebody else's may lead here (DNS rebinding), so the host is compared; and a page of another
 * origin cannot send the header without asking for leave first, which nobody gives (Fetch standard §4.8).
 * @throws HOST_UNKNOWN, FORBIDDEN, DASHBOARD_TOKEN
 */
function checkAccess({ method, headers }: IncomingMessage, path: string, { token, hosts }: Access): void {
  const { host = '' } = headers;
  if (!hosts.includes(host)) throw new SallyportError('HOST_UNKNOWN', { host: host.slice(0, 253) });
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new SallyportError('FORBIDDEN', { reason: 'the request comes from another site' });
  // The page and its scripts are the same for everybody, and a browser asks for them without a header.
  if (method === 'GET' && (path === '/' || path.startsWith('/ui/'))) return;
  const shown = headers[TOKEN_HEADER];
  if (typeof shown !== 'string' || !timingSafeEqual(digest(shown), digest(token)))
    throw new SallyportError('DASHBOARD_TOKEN');
}

const digest = (text: string) => createHash('sha256').update(text).digest();

function pick(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    FORWARDED.flatMap((name) => {
      const value = headers[name];
      return typeof value === 'string' ? [[name, value]] : [];
    }),
  );
}

/** @throws MESSAGE_TOO_LARGE */
async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw new SallyportError('MESSAGE_TOO_LARGE', { limitBytes: MAX_BODY });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function fail(response: ServerResponse, cause: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  const error = isSallyportError(cause) ? cause : new SallyportError('INTERNAL', {}, cause);
  const { code, message, fix, status } = error;
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify({ error: { code, message, fix } }));
}
