import type { FastifyInstance } from 'fastify';
import { SallyportError } from '../core/errors.ts';
import * as z from '../core/zod.ts';
import { exactJson } from '../protocol/content.ts';
import { type AdminCaller, callerOf } from './admin-access.ts';
import type { AuditNeed } from './audited-calls.ts';

/** What a handler gets: checked input, and a signal that fires when the caller went away. */
export interface ApiInput<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  readonly caller: AdminCaller;
  readonly signal: AbortSignal;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body?: unknown;
}

/** One route of the admin API: it is served and documented from the same value. */
export interface ApiRoute {
  readonly method: 'GET' | 'POST';
  /** fastify's notation: `/api/v1/nodes/:node`. */
  readonly path: string;
  /** Name of its function in generated clients. */
  readonly operationId: string;
  /** Group of operations it is shown in. */
  readonly tag: string;
  readonly summary: string;
  /** `required` when it is not given; nothing of `GET` is recorded. */
  readonly audit?: AuditNeed;
  readonly params?: z.ZodType;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** Status → what it means, and its body. */
  readonly answers: Readonly<Record<number, { readonly description: string; readonly schema?: z.ZodType }>>;
  handle(input: ApiInput<unknown, unknown, unknown>): Promise<ApiAnswer>;
}

const nothing = z.unknown();
type Nothing = typeof nothing;

/** Binds the types of a route's schemas to its handler, which therefore only ever sees checked input. */
export function apiRoute<
  P extends z.ZodType = Nothing,
  Q extends z.ZodType = Nothing,
  B extends z.ZodType = Nothing,
>(
  definition: Omit<ApiRoute, 'params' | 'query' | 'body' | 'handle'> & {
    readonly params?: P;
    readonly query?: Q;
    readonly body?: B;
    handle(input: ApiInput<z.output<P>, z.output<Q>, z.output<B>>): Promise<ApiAnswer>;
  },
): ApiRoute {
  const { params, query, body, handle } = definition;
  return {
    ...definition,
    handle: async (input) =>
      handle({
        params: parse(params, input.params, 'path') as z.output<P>,
        query: parse(query, input.query, 'query') as z.output<Q>,
        body: parse(body, input.body ?? {}, 'body') as z.output<B>,
        caller: input.caller,
        signal: input.signal,
      }),
  };
}

/** @throws BAD_REQUEST that names the first wrong field */
export function parse<T extends z.ZodType>(schema: T | undefined, value: unknown, where: string): unknown {
  if (schema === undefined) return value;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = [where, ...(issue?.path ?? [])].join('.');
  throw new SallyportError('BAD_REQUEST', { problem: `${field}: ${issue?.message ?? 'is wrong'}` });
}

export function serveRoutes(app: FastifyInstance, routes: readonly ApiRoute[]): void {
  for (const route of routes) {
    app.route({
      method: route.method,
      url: route.path,
      config: { audit: route.audit },
      handler: async (request, reply) => {
        const gone = new AbortController();
        // Every answer ends with `close`; to abort then would cost an error each, which nobody hears.
        reply.raw.once('close', () => {
          if (!reply.raw.writableFinished) gone.abort();
        });
        const { params, query, body } = request;
        const caller = callerOf(request);
        const answer = await route.handle({ params, query, body, caller, signal: gone.signal });
        if (answer.body === undefined) return reply.code(answer.status).send();
        return reply.code(answer.status).type('application/json; charset=utf-8').send(exactJson(answer.body));
      },
    });
  }
}
