import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { TlsServer } from '../../contracts/tls-server.ts';
import type { Clock } from '../../core/clock.ts';
import type { SallyportError } from '../../core/errors.ts';
import { type Logger, LogSampler } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { OWN_PROBE } from '../../core/own-probe.ts';
import type { RejectionReason } from '../../protocol/rejection-reasons.ts';
import { sourceOf } from './rate-limiter.ts';

export interface RequestObserver {
  /** A request that is answered with `error`. */
  failed(request: FastifyRequest, error: SallyportError, reason: RejectionReason): void;
}

export interface RequestObserverComponents {
  readonly server: Pick<TlsServer, 'remoteAddress'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'httpRequests'>;
}

/**
 * Counts and logs requests, but not the gateway's own probes. Neither headers, nor query, nor body are
 * logged, since they hold tokens (requirement A10); refusals give at most one line a minute for each source
 * and code (I14).
 */
export function observeRequests(
  app: FastifyInstance,
  { server, clock, log, metrics }: RequestObserverComponents,
): RequestObserver {
  const describe = (request: FastifyRequest) => ({
    // The pattern, not the path: a label must not be chosen by strangers.
    route: request.routeOptions.url ?? 'none',
    method: request.method,
    remoteAddress: server.remoteAddress(request.raw.socket),
  });
  const sampler = new LogSampler({ clock });
  app.addHook('onResponse', async (request, reply) => {
    const fields = describe(request);
    if (fields.remoteAddress === OWN_PROBE) return;
    metrics.httpRequests.inc({ route: fields.route, status: String(reply.statusCode) });
    log.debug({ ...fields, status: reply.statusCode, ms: Math.round(reply.elapsedTime) }, 'request answered');
  });
  return {
    failed(request, error, reason) {
      const fields = describe(request);
      if (error.status >= 500) return log.error({ ...fields, err: error }, 'request failed');
      const heldBack = sampler.pass(`${sourceOf(fields.remoteAddress)} ${error.code}`);
      if (heldBack === undefined) return;
      const { code, message, status } = error;
      log.info({ ...fields, code, reason, status, problem: message, heldBack }, 'request refused');
    },
  };
}
