import type { FastifyInstance } from 'fastify';
import type { SessionTickets } from '../../contracts/session-tickets.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import { SECURITY_HEADERS } from '../../core/http-errors.ts';
import type { HttpsOptions } from './options.ts';
import type { ReadPeer } from './peer.ts';
import { RateLimiter } from './rate-limiter.ts';

export interface TicketRouteComponents {
  readonly peerOf: ReadPeer;
  readonly clock: Clock;
  /** Absent when WebTransport is not served: then there is nothing at this path. */
  readonly tickets?: Pick<SessionTickets, 'issue'>;
}

/**
 * `POST /webtransport/ticket` over mutual TLS: one ticket for one WebTransport session of the node of the
 * certificate.
 */
export function ticketRoute(
  app: FastifyInstance,
  { peerOf, clock, tickets }: TicketRouteComponents,
  options: () => HttpsOptions,
): void {
  if (!tickets) return;
  const limiter = new RateLimiter(clock, () => ({
    perMinutePerSource: options().requestsPerMinutePerSource,
    perMinute: options().requestsPerMinute,
  }));

  app.post('/webtransport/ticket', async (request, reply) => {
    const { verdict, source } = peerOf(request);
    limiter.take(source);
    if (!verdict) throw new SallyportError('NOT_AUTHENTICATED');
    if (!verdict.ok) throw new SallyportError('PEER_REFUSED', { reason: verdict.detail });
    const { ticket, expiresAt } = tickets.issue(verdict.identity);
    return reply
      .headers(SECURITY_HEADERS)
      .send({ ticket, node: verdict.identity.nodeName, expires_at: new Date(expiresAt).toISOString() });
  });
}
