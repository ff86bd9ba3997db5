import type { FastifyInstance } from 'fastify';
import type { CertificateIssuer } from '../../contracts/certificate-issuer.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { HttpsOptions } from './options.ts';
import type { ReadPeer } from './peer.ts';
import { sendText } from './plain-answers.ts';
import { requestLimiter } from './rate-limiter.ts';
import { bearerToken } from './request-headers.ts';

export interface NodeRouteComponents {
  readonly peerOf: ReadPeer;
  readonly issuer: Pick<CertificateIssuer, 'isTokenValid'>;
  /** Whether a node of this name has a certificate or a session; may ask the secret store. */
  readonly isKnownNode: (node: string) => boolean | Promise<boolean>;
  readonly clock: Clock;
}

/**
 * `GET /node/{name}`. KubeEdge's join tool asks it as a stranger and goes on only after a 404, so strangers
 * get 404 whatever the truth; a node asks about itself, and who holds a token for the name may know
 * (requirement G6).
 */
export function nodeRoutes(
  app: FastifyInstance,
  { peerOf, issuer, isKnownNode, clock }: NodeRouteComponents,
  options: () => HttpsOptions,
): void {
  const limiter = requestLimiter(clock, options);

  app.get<{ Params: { name: string } }>('/node/:name', async (request, reply) => {
    const { name } = request.params;
    const peer = peerOf(request);
    limiter.take(peer.source);
    const token = bearerToken(request.headers);
    const mayKnow = peer.node === name || (token !== undefined && (await issuer.isTokenValid(token, name)));
    if (!mayKnow && peer.node !== undefined) throw new SallyportError('NODE_MISMATCH');
    if (mayKnow && (await isKnownNode(name))) return sendText(reply, 200, 'Node found');
    return sendText(reply, 404, 'Node not found');
  });
}
