import { randomUUID } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { AuditEntry, AuditFacts, AuditTrail } from '../contracts/audit-trail.ts';
import type { TlsServer } from '../contracts/tls-server.ts';
import { SallyportError } from '../core/errors.ts';
import { callerOf, isRead, pathOf } from './admin-access.ts';
import { toAdminError } from './json-errors.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    readonly audit?: AuditNeed | undefined;
  }
}

/**
 * What a route needs of the audit. `required`: it is not done without a line. `wanted`: it only takes trust
 * away, and is done anyway. `none`: traffic, of which there is too much.
 */
export type AuditNeed = 'required' | 'wanted' | 'none';

/** Why a person does something; percent-encoded, because a header is ASCII (RFC 9110 §5.5). */
export const REASON_HEADER = 'sallyport-reason';
const MAX_REASON = 500;

export interface AuditedCallComponents {
  readonly audit: AuditTrail;
  readonly server: Pick<TlsServer, 'remoteAddress'>;
}

/**
 * Each call that changes something leaves a line before it is carried out, and one with what came of it
 * before it is answered. So nothing is done that was not written down, and after a crash the first line is
 * there.
 */
export function auditCalls(app: FastifyInstance, { audit, server }: AuditedCallComponents): void {
  const asked = new WeakMap<FastifyRequest, AuditEntry>();
  const codes = new WeakMap<FastifyRequest, string>();
  app.addHook('preHandler', async (request) => {
    const need = request.routeOptions.config?.audit ?? 'required';
    if (isRead(request) || need === 'none') return;
    const { name: who, serial } = callerOf(request);
    const { node, why, facts } = wishOf(request);
    const call = { who, node, from: server.remoteAddress(request.raw.socket as TLSSocket) };
    const id = randomUUID();
    const what = `${request.method} ${pathOf(request)}`;
    const entry = {
      ...call,
      action: 'admin-asked',
      what,
      why,
      facts: { call: id, certificate: serial, ...facts },
    };
    if (!audit.record(entry) && need === 'required')
      throw new SallyportError('AUDIT_UNAVAILABLE', { problem: audit.problem() });
    asked.set(request, { ...call, action: 'admin-answered', what, facts: { call: id } });
  });
  app.addHook('onError', async (request, _reply, error) => {
    codes.set(request, toAdminError(error, 0).code);
  });
  app.addHook('onSend', async (request, { statusCode: status }) => {
    const entry = asked.get(request);
    if (entry) audit.record({ ...entry, facts: { ...entry.facts, status, code: codes.get(request) } });
  });
}

/** Of what the caller sent, only what is known to be no secret. */
function wishOf({ params, body, headers }: FastifyRequest): Pick<AuditEntry, 'node' | 'why' | 'facts'> {
  const wish = { ...(body as object), ...(params as object) } as Readonly<Record<string, unknown>>;
  const text = (name: string) => (typeof wish[name] === 'string' ? wish[name] : undefined);
  const why = [text('reason'), text('note'), givenReason(headers[REASON_HEADER])].filter(Boolean);
  const facts: AuditFacts = Object.fromEntries(
    ['serial', 'issuerSha256', 'step', 'force', 'rejoin', 'ttlMs'].flatMap((name) => {
      const value = wish[name];
      return ['string', 'number', 'boolean'].includes(typeof value) ? [[name, value as string]] : [];
    }),
  );
  return { node: text('node'), why: why.length > 0 ? why.join(': ') : undefined, facts };
}

/** @throws BAD_REQUEST */
function givenReason(header: string | readonly string[] | undefined): string | undefined {
  if (typeof header !== 'string') return undefined;
  try {
    return decodeURIComponent(header).slice(0, MAX_REASON);
  } catch {
    throw new SallyportError('BAD_REQUEST', {
      problem: `the header ${REASON_HEADER} is not percent-encoded`,
    });
  }
}
