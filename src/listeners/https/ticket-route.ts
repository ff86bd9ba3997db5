import type { FastifyInstance } from 'fastify';
import type { SessionTickets } from '../../contracts/session-tickets.ts';
import type { Clock } from '../../core/clock.ts';
import { SECURITY_HEADERS } from '../../core/http-errors.ts';
import type { HttpsOptions } from './options.ts';
import { identityOf, type ReadPeer } from './peer.ts';
import { requestLimiter } from './rate-limiter.ts';

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
  const limiter = requestLimiter(clock, options);

  app.post('/webtransport/ticket', async (request, reply) => {
    const peer = peerOf(request);
    limiter.take(peer.source);
    const identity = identityOf(peer);
    const { ticket, expiresAt } = tickets.issue(identity);
    return reply
      .headers(SECURITY_HEADERS)
      .send({ ticket, node: identity.nodeName, expires_at: new Date(expiresAt).toISOString() });
  });
}
