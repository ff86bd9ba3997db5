import type { TLSSocket } from 'node:tls';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { TlsServer } from '../contracts/tls-server.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { AdminVerdict } from '../identity/admin-gate.ts';

/** Judges the certificate of a connection; the composition root binds it to `AdminGate`. */
export type Authenticate = (socket: TLSSocket) => AdminVerdict;

/** Who makes a request that was let in. */
export interface AdminCaller {
  readonly name: string;
  /** Serial of the certificate the request was made with, upper-case hexadecimal. */
  readonly serial?: string;
}

const callers = new WeakMap<FastifyRequest, AdminCaller>();

/** @throws NOT_AUTHENTICATED when nobody was let in with this request */
export function callerOf(request: FastifyRequest): AdminCaller {
  const caller = callers.get(request);
  if (!caller) throw new SallyportError('NOT_AUTHENTICATED');
  return caller;
}

/** Probes carry no certificate. */
const OPEN_PATHS: ReadonlySet<string | undefined> = new Set([
  '/livez',
  '/readyz',
  '/livez/:check',
  '/readyz/:check',
]);

export interface AdminAccessComponents {
  readonly authenticate: Authenticate;
  readonly server: Pick<TlsServer, 'remoteAddress'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'handshakeFailures'>;
}

/** Lets nobody but administrators past, for every path but the probes, known or unknown. Refusals are counted, and logged once a minute. */
export function requireAdmin(
  app: FastifyInstance,
  { authenticate, server, clock, log, metrics }: AdminAccessComponents,
): void {
  const sampler = new LogSampler({ clock });
  app.addHook('onRequest', async (request) => {
    if (OPEN_PATHS.has(request.routeOptions.url)) return;
    const socket = request.raw.socket as TLSSocket;
    const remoteAddress = server.remoteAddress(socket);
    const verdict = authenticate(socket);
    if (!verdict.ok) {
      const reason = verdict.known ? 'not-admin' : verdict.reason;
      metrics.handshakeFailures.inc({ transport: 'admin', reason });
      const suppressed = sampler.pass(`${remoteAddress} ${reason}`);
      if (suppressed !== undefined && reason !== 'no-certificate')
        log.warn(
          { remoteAddress, reason, detail: verdict.detail, suppressed },
          'not let in as administrator',
        );
      throw refusalOf(verdict);
    }
    callers.set(request, { name: verdict.name, serial: verdict.certificate.serial });
    refuseOtherSites(request);
    // Who changed what has to be found later; bodies are not logged, tokens come in answers.
    if (request.method !== 'GET' && request.method !== 'HEAD')
      log.info(
        { admin: verdict.name, method: request.method, path: pathOf(request), remoteAddress },
        'admin action',
      );
  });
}

function refusalOf(verdict: Extract<AdminVerdict, { ok: false }>): SallyportError {
  if (verdict.known) return new SallyportError('FORBIDDEN', { reason: verdict.detail });
  if (verdict.reason === 'no-certificate') return new SallyportError('NOT_AUTHENTICATED');
  return new SallyportError('PEER_REFUSED', { reason: verdict.detail });
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
