import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { AuditTrail } from '../contracts/audit-trail.ts';
import type { BearerReviewer, BearerVerdict } from '../contracts/bearer-reviewer.ts';
import type { RejectionSink } from '../contracts/rejections.ts';
import type { TlsServer } from '../contracts/tls-server.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { AdminVerdict } from '../identity/admin-gate.ts';
import type { RejectionReason } from '../protocol/rejection-reasons.ts';

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

/**
 * Non-resource URLs that the owner of a bearer token needs in a ClusterRole, with the HTTP method in lower
 * case as the verb: one for Prometheus, one for everything else.
 */
export const METRICS_URL = '/metrics';
export const ADMIN_URL = '/sallyport/admin';

export interface AdminAccessComponents {
  readonly authenticate: Authenticate;
  /** Undefined where bearer tokens are not understood: without a cluster. */
  readonly reviewer?: BearerReviewer | undefined;
  /** Names that this gateway answers to, beside addresses and localhost. */
  readonly hosts: () => readonly string[];
  readonly server: Pick<TlsServer, 'remoteAddress'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'handshakeFailures'>;
  readonly rejections: RejectionSink;
  readonly audit: AuditTrail;
}

/**
 * Lets nobody but administrators past, for every path but the probes, known or unknown. Refusals are counted,
 * and logged once a minute.
 */
export function requireAdmin(
  app: FastifyInstance,
  { authenticate, reviewer, hosts, server, clock, log, metrics, rejections, audit }: AdminAccessComponents,
): void {
  const sampler = new LogSampler({ clock });
  app.addHook('onRequest', async (request) => {
    if (OPEN_PATHS.has(request.routeOptions.url)) return;
    const socket = request.raw.socket as TLSSocket;
    const remoteAddress = server.remoteAddress(socket);
    const verdict = authenticate(socket);
    const bearer = verdict.ok ? undefined : await reviewBearer(request, reviewer);
    if (!verdict.ok && bearer?.ok !== true) {
      const reason: RejectionReason = bearer
        ? `bearer-${bearer.why}`
        : verdict.known
          ? 'not-admin'
          : verdict.reason;
      const { detail } = bearer ?? verdict;
      metrics.handshakeFailures.inc({ transport: 'admin', reason });
      rejections.record({ listener: 'admin', reason, remoteAddress, detail });
      const suppressed = sampler.pass(`${remoteAddress} ${reason}`);
      if (suppressed !== undefined && reason !== 'no-certificate') {
        log.warn({ remoteAddress, reason, detail, suppressed }, 'not let in as administrator');
        const what = `${request.method} ${pathOf(request)}`;
        const facts = { reason, ...(suppressed > 0 ? { suppressed } : {}) };
        audit.record({
          action: 'admin-refused',
          who: 'unknown',
          what,
          why: detail,
          from: remoteAddress,
          facts,
        });
      }
      throw bearer ? bearerRefusal(bearer) : refusalOf(verdict);
    }
    callers.set(request, {
      name: nameOf(verdict, bearer) ?? 'unnamed',
      ...(verdict.ok ? { serial: verdict.certificate.serial } : {}),
    });
    refuseOtherSites(request);
    refuseOtherHosts(request, hosts());
    // Who changed what has to be found later; bodies are not logged, tokens come in answers.
    if (!isRead(request))
      log.info(
        { admin: nameOf(verdict, bearer), method: request.method, path: pathOf(request), remoteAddress },
        'admin action',
      );
  });
}

/** True when the caller would be let in now. For streams, which outlive the answer. */
export async function isAdmin(
  request: FastifyRequest,
  { authenticate, reviewer }: Pick<AdminAccessComponents, 'authenticate' | 'reviewer'>,
): Promise<boolean> {
  if (authenticate(request.raw.socket as TLSSocket).ok) return true;
  return (await reviewBearer(request, reviewer))?.ok === true;
}

/** Undefined when there is no token, or nobody who understands it. */
async function reviewBearer(
  { routeOptions, method, headers }: FastifyRequest,
  reviewer: BearerReviewer | undefined,
): Promise<BearerVerdict | undefined> {
  // RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1).
  const token = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  if (token === undefined || !reviewer) return undefined;
  const isMetrics = routeOptions.url === METRICS_URL;
  const wish = { path: isMetrics ? METRICS_URL : ADMIN_URL, verb: method.toLowerCase() };
  // Monitoring must not end when the API does (docs/decisions/metrics-in-an-outage.md).
  return reviewer.review(token, wish, { relyOnLast: isMetrics && wish.verb === 'get' });
}

function nameOf(verdict: AdminVerdict, bearer: BearerVerdict | undefined): string | undefined {
  if (verdict.ok) return verdict.name;
  return bearer?.ok ? bearer.name : undefined;
}

function bearerRefusal({ why, detail: reason }: Extract<BearerVerdict, { ok: false }>): SallyportError {
  if (why === 'forbidden') return new SallyportError('BEARER_FORBIDDEN', { reason });
  return new SallyportError(why === 'unknown' ? 'BEARER_REFUSED' : 'BEARER_UNAVAILABLE', { reason });
}

function refusalOf(verdict: Extract<AdminVerdict, { ok: false }>): SallyportError {
  if (verdict.known) return new SallyportError('FORBIDDEN', { reason: verdict.detail });
  if (verdict.reason === 'no-certificate') return new SallyportError('NOT_AUTHENTICATED');
  return new SallyportError('PEER_REFUSED', { reason: verdict.detail });
}

/**
 * A browser that holds the admin certificate sends it for requests of any web page; those say where they come
 * from (Fetch Metadata §2.1) and carry the page's origin (Fetch standard §3.2). Programs send neither. So a
 * browser may read for pages of this origin, and change nothing: what it sends by itself proves no intention.
 */
function refuseOtherSites(request: FastifyRequest): void {
  const { 'sec-fetch-site': site, origin } = request.headers;
  // A link that a person follows, or an address that he types, says `none`.
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new SallyportError('FORBIDDEN', { reason: 'the request comes from another site' });
  if (!isRead(request) && (site !== undefined || origin !== undefined))
    throw new SallyportError('FORBIDDEN', {
      reason: 'a browser changes nothing with its certificate; `sallyport dashboard` opens a page that can',
    });
}

/**
 * A name of somebody else's that leads here makes a browser send what it has for that name's pages (DNS
 * rebinding); such a request names a host that this gateway does not know. Addresses cannot be rebound.
 */
function refuseOtherHosts({ headers: { host = '' } }: FastifyRequest, known: readonly string[]): void {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  if (name === 'localhost' || isIP(name.replace(/^\[|\]$/g, '')) !== 0) return;
  const isKnown = known.some((one) => {
    const own = one.toLowerCase();
    return own === name || (own.startsWith('*.') && name.slice(name.indexOf('.')) === own.slice(1));
  });
  if (!isKnown) throw new SallyportError('HOST_UNKNOWN', { host: name.slice(0, 253) });
}

export const isRead = ({ method }: Pick<FastifyRequest, 'method'>) => method === 'GET' || method === 'HEAD';
export const pathOf = (request: FastifyRequest) => request.url.split('?', 1)[0]!.slice(0, 300);
