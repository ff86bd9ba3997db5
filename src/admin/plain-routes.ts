import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { HealthRegistry } from '../core/health.ts';
import { healthReport, parseHealthQuery } from '../core/health-report.ts';
import type { Metrics } from '../core/metrics.ts';
import type { DocumentedRoute } from './openapi.ts';

const TEXT = 'text/plain; charset=utf-8';
const PROBES = ['livez', 'readyz'] as const;

/** Routes that answer text: metrics, and probes in the words of Kubernetes. */
export const plainRoutes: readonly DocumentedRoute[] = [
  {
    method: 'GET',
    path: '/metrics',
    operationId: 'getMetrics',
    tag: 'Gateway',
    summary: 'Metrics for Prometheus',
    produces: 'text/plain',
    answers: { 200: { description: 'exposition format' } },
  },
  ...PROBES.map((probe) => ({
    method: 'GET' as const,
    path: `/${probe}`,
    operationId: probe === 'livez' ? 'getLiveness' : 'getReadiness',
    tag: 'Gateway',
    summary: probe === 'livez' ? 'Whether the process works' : 'Whether it should get traffic',
    produces: 'text/plain',
    authenticated: false,
    answers: { 200: { description: 'it does' }, 500: { description: 'the checks, one a line' } },
  })),
];

export interface PlainRouteComponents {
  /** Probes carry no certificate; who has one is told more. */
  readonly isAllowed: (request: FastifyRequest) => Promise<boolean>;
  readonly health: HealthRegistry;
  readonly metrics: Pick<Metrics, 'expose' | 'contentType'>;
}

export function servePlain(app: FastifyInstance, { health, metrics, isAllowed }: PlainRouteComponents): void {
  const queryOf = async (request: FastifyRequest) => ({
    ...parseHealthQuery(request.query),
    reader: (await isAllowed(request)) ? ('administrators' as const) : ('everybody' as const),
  });
  app.get('/metrics', async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.expose()),
  );
  for (const probe of PROBES) {
    app.get<{ Params: { check?: string } }>(`/${probe}`, async (request, reply) => {
      const { status, body } = await healthReport(health, probe, await queryOf(request));
      return reply.code(status).type(TEXT).send(body);
    });
    app.get<{ Params: { check: string } }>(`/${probe}/:check`, async (request, reply) => {
      const query = { ...(await queryOf(request)), only: request.params.check };
      const { status, body } = await healthReport(health, probe, query);
      return reply.code(status).type(TEXT).send(body);
    });
  }
}
