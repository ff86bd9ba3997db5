import type { TLSSocket } from 'node:tls';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { SallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { AdminVerdict } from '../identity/admin-gate.ts';

/** Judges the certificate of a connection; the composition root binds it to `AdminGate`. */
export type Authenticate = (socket: TLSSocket) => AdminVerdict;

/** Probes carry no certificate. */
const OPEN_PATHS: ReadonlySet<string | undefined> = new Set([
  '/livez',
  '/readyz',
  '/livez/:check',
  '/readyz/:check',
]);

/** Lets nobody but administrators past, for every path but the probes, known or unknown. */
export function requireAdmin(
  app: FastifyInstance,
  { authenticate, log }: { authenticate: Authenticate; log: Logger },
): void {
  app.addHook('onRequest', async (request) => {
    if (OPEN_PATHS.has(request.routeOptions.url)) return;
    const admin = adminOf(request, authenticate);
    refuseOtherSites(request);
    // Who changed what has to be found later; bodies are not logged, tokens come in answers.
    if (request.method !== 'GET' && request.method !== 'HEAD')
      log.info({ admin, method: request.method, path: pathOf(request) }, 'admin action');
  });
}

/** @returns the name of the administrator. @throws NOT_AUTHENTICATED, PEER_REFUSED, FORBIDDEN */
export function adminOf(request: FastifyRequest, authenticate: Authenticate): string {
  const verdict = authenticate(request.raw.socket as TLSSocket);
  if (verdict.ok) return verdict.name;
  if (verdict.known) throw new SallyportError('FORBIDDEN', { reason: verdict.detail });
  if (verdict.reason === 'no-certificate') throw new SallyportError('NOT_AUTHENTICATED');
  throw new SallyportError('PEER_REFUSED', { reason: verdict.detail });
}

/**
 * A browser that holds the admin certificate sends it for requests of any web page; those carry the page's origin (Fetch standard
 * §3.2). Programs send none.
 */
function refuseOtherSites({ method, headers }: FastifyRequest): void {
  if (method === 'GET' || method === 'HEAD') return;
  if (headers.origin !== undefined && headers.origin !== `https://${headers.host}`)
    throw new SallyportError('FORBIDDEN', { reason: 'the request comes from another site' });
}

const pathOf = (request: FastifyRequest) => request.url.split('?', 1)[0]!.slice(0, 300);
