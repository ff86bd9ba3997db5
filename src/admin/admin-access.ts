import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { AuditTrail } from '../contracts/audit-trail.ts';
import type { BearerReviewer, BearerVerdict } from '../contracts/bearer-reviewer.ts';
import type { RejectionSink } from '../contracts/rejections.ts';
import type { TlsServer } from '../contracts/tls-server.ts';
import type { Clock } from '../core/clock.ts';
import { type ErrorCode, SallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { OWN_PROBE } from '../core/own-probe.ts';
import type { AdminRole, AdminVerdict } from '../identity/admin-gate.ts';
import type { RejectionReason } from '../protocol/rejection-reasons.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The least role for this request. By default a viewer may read, and an operator may also change. */
    readonly needs?: (request: Pick<FastifyRequest, 'query'>) => AdminRole;
  }
}

/** Judges the certificate of a connection; the composition root binds it to `AdminGate`. */
export type Authenticate = (socket: TLSSocket) => AdminVerdict;

/** Who makes a request that was let in. */
export interface AdminCaller {
  readonly name: string;
  /** Serial of the certificate the request was made with, upper-case hexadecimal. */
  readonly serial?: string;
  /** What the caller may do now; of a bearer token the cluster is asked, and its silence is a viewer's. */
  readonly role: () => Promise<AdminRole>;
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
 * case as the verb: one for Prometheus, one for everything else. So `get` makes a viewer, and `post` an
 * operator.
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
 * Lets nobody but administrators past, for every path but the probes, known or unknown, and viewers only to
 * what they may have. Refusals are counted, and logged once a minute; those of the gateway's own probes are
 * not.
 */
export function requireAdmin(
  app: FastifyInstance,
  { authenticate, reviewer, hosts, server, clock, log, metrics, rejections, audit }: AdminAccessComponents,
): void {
  const sampler = new LogSampler({ clock });
  app.addHook('onRequest', async (request) => {
    if (OPEN_PATHS.has(request.routeOptions.url)) return;
    const access = await judge(request, { authenticate, reviewer });
    const remoteAddress = server.remoteAddress(request.raw.socket as TLSSocket);
    if (!access.ok) {
      if (remoteAddress === OWN_PROBE) throw access.error;
      const { who = 'unknown', reason, detail } = access;
      metrics.handshakeFailures.inc({ transport: 'admin', reason });
      rejections.record({ listener: 'admin', reason, remoteAddress, detail });
      const suppressed = sampler.pass(`${remoteAddress} ${reason} ${who}`);
      if (suppressed !== undefined && reason !== 'no-certificate') {
        log.warn({ remoteAddress, reason, detail, suppressed }, 'not let in as administrator');
        const what = `${request.method} ${pathOf(request)}`;
        const facts = { reason, ...(suppressed > 0 ? { suppressed } : {}) };
        audit.record({ action: 'admin-refused', who, what, why: detail, from: remoteAddress, facts });
      }
      throw access.error;
    }
    const { caller } = access;
    callers.set(request, caller);
    refuseOtherSites(request);
    refuseOtherHosts(request, hosts());
    // Who changed what has to be found later; bodies are not logged, tokens come in answers.
    if (!isRead(request))
      log.info(
        { admin: caller.name, method: request.method, path: pathOf(request), remoteAddress },
        'admin action',
      );
  });
}

/** True when the caller would be let in now. For streams, which outlive the answer. */
export async function isAdmin(request: FastifyRequest, judges: Judges): Promise<boolean> {
  return (await judge(request, judges)).ok;
}

type Judges = Pick<AdminAccessComponents, 'authenticate' | 'reviewer'>;

type Access =
  | { readonly ok: true; readonly caller: AdminCaller }
  | {
      readonly ok: false;
      /** Undefined for a stranger. */
      readonly who?: string;
      readonly reason: RejectionReason;
      readonly detail: string;
      readonly error: SallyportError;
    };

/** The certificate says who it is and in which role; without a good one a bearer token may. */
async function judge(request: FastifyRequest, { authenticate, reviewer }: Judges): Promise<Access> {
  const verdict = authenticate(request.raw.socket as TLSSocket);
  if (!verdict.ok) return (await judgeBearer(request, reviewer)) ?? refuse(verdict);
  const { name, role, certificate } = verdict;
  if (role === 'operator' || roleFor(request) === 'viewer')
    return { ok: true, caller: { name, serial: certificate.serial, role: async () => role } };
  const error = new SallyportError('OPERATOR_NEEDED', { name });
  return { ok: false, who: name, reason: 'not-operator', detail: error.message, error };
}

/** Undefined when there is no token, or nobody who understands it. */
async function judgeBearer(
  request: FastifyRequest,
  reviewer: BearerReviewer | undefined,
): Promise<Access | undefined> {
  const { routeOptions, method, headers } = request;
  // RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1).
  const token = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  if (token === undefined || !reviewer) return undefined;
  const isMetrics = routeOptions.url === METRICS_URL;
  const role = roleFor(request);
  const verb = role === 'operator' && isRead(request) ? 'post' : method.toLowerCase();
  const wish = { path: isMetrics ? METRICS_URL : ADMIN_URL, verb };
  // Monitoring must not end when the API does (docs/decisions/metrics-in-an-outage.md).
  const verdict = await reviewer.review(token, wish, { relyOnLast: isMetrics && verb === 'get' });
  if (verdict.ok) {
    const mayChange = async () => (await reviewer.review(token, { path: ADMIN_URL, verb: 'post' })).ok;
    return {
      ok: true,
      caller: { name: verdict.name, role: async () => ((await mayChange()) ? 'operator' : 'viewer') },
    };
  }
  const { why, detail } = verdict;
  const error = new SallyportError(BEARER_ERRORS[why], { reason: detail, role });
  return { ok: false, reason: `bearer-${why}`, detail, error };
}

function roleFor(request: FastifyRequest): AdminRole {
  const { needs } = request.routeOptions.config ?? {};
  return needs?.(request) ?? (isRead(request) ? 'viewer' : 'operator');
}

const BEARER_ERRORS = {
  unknown: 'BEARER_REFUSED',
  forbidden: 'BEARER_FORBIDDEN',
  unavailable: 'BEARER_UNAVAILABLE',
} as const satisfies Record<Extract<BearerVerdict, { ok: false }>['why'], ErrorCode>;

function refuse(verdict: Extract<AdminVerdict, { ok: false }>): Access {
  const { detail } = verdict;
  if (verdict.known)
    return {
      ok: false,
      reason: 'not-admin',
      detail,
      error: new SallyportError('FORBIDDEN', { reason: detail }),
    };
  const { reason } = verdict;
  const error =
    reason === 'no-certificate'
      ? new SallyportError('NOT_AUTHENTICATED')
      : new SallyportError('PEER_REFUSED', { reason: detail });
  return { ok: false, reason, detail, error };
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
