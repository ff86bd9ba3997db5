import type { FastifyInstance } from 'fastify';
import type { HealthRegistry } from '../../core/health.ts';
import { healthReport, parseHealthQuery } from '../../core/health-report.ts';
import { sendText } from './plain-answers.ts';

/**
 * `/livez`, `/readyz` and `/healthz`, whole or one check by name, for anyone: probes carry no certificate
 * (requirement H2).
 */
export function healthRoutes(app: FastifyInstance, { health }: { health: HealthRegistry }): void {
  for (const path of ['livez', 'readyz', 'healthz'] as const) {
    app.get(`/${path}`, async (request, reply) => {
      const { status, body } = await healthReport(health, path, parseHealthQuery(request.query));
      return sendText(reply, status, body);
    });
    app.get<{ Params: { check: string } }>(`/${path}/:check`, async (request, reply) => {
      const { status, body } = await healthReport(health, path, {
        ...parseHealthQuery(request.query),
        only: request.params.check,
      });
      return sendText(reply, status, body);
    });
  }
}
