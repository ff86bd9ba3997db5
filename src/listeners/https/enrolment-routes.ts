import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { CertificateIssuer } from '../../contracts/certificate-issuer.ts';
import type { CertificateSource } from '../../contracts/certificate-source.ts';
import type { CrlSource } from '../../contracts/revocations.ts';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import { SECURITY_HEADERS } from '../../core/http-errors.ts';
import type { HttpsOptions } from './options.ts';
import type { ReadPeer } from './peer.ts';
import { requestLimiter } from './rate-limiter.ts';
import { readBody } from './request-body.ts';
import { bearerToken, extKeyUsages, headerText } from './request-headers.ts';

/** One certificate, DER (RFC 2585 §4.1). */
const CERTIFICATE_TYPE = 'application/pkix-cert';

/** RFC 2585 §4.2. */
const CRL_TYPE = 'application/pkix-crl';

/** A download costs neither signature nor store, and a fleet behind one address retries it together. */
const DOWNLOADS_PER_ENROLMENT = 10;

export interface EnrolmentComponents {
  readonly source: CertificateSource;
  readonly peerOf: ReadPeer;
  readonly issuer: CertificateIssuer;
  readonly clock: Clock;
  /** Undefined where no CRL is kept. */
  readonly crl?: CrlSource;
}

/**
 * `GET /ca.crt` and `/ca.crl`, and `GET` or `POST /edge.crt` with a CSR as the body (KubeEdge
 * `cloudhub/servers/httpserver`).
 */
export function enrolmentRoutes(
  app: FastifyInstance,
  { source, peerOf, issuer, clock, crl }: EnrolmentComponents,
  options: () => HttpsOptions,
): void {
  const downloads = requestLimiter(clock, options, DOWNLOADS_PER_ENROLMENT);
  const enrolments = requestLimiter(clock, options);

  app.get('/ca.crt', async (request, reply) => {
    downloads.take(peerOf(request).source);
    return certificate(reply, source.current().ca.der);
  });

  app.get('/ca.crl', async (request, reply) => {
    downloads.take(peerOf(request).source);
    if (!crl) throw new SallyportError('CRL_UNAVAILABLE', { problem: 'this gateway keeps none' });
    const { der } = await crl.current();
    return reply.headers(SECURITY_HEADERS).type(CRL_TYPE).send(Buffer.from(der));
  });

  app.route({
    method: ['GET', 'POST'],
    url: '/edge.crt',
    exposeHeadRoute: false,
    handler: async (request: FastifyRequest, reply: FastifyReply) => {
      const peer = peerOf(request);
      enrolments.take(peer.source);
      const { headers } = request;
      const token = bearerToken(headers);
      const usages = extKeyUsages(headers);
      const { bodyBytes, requestTimeoutMs } = options();
      const csr = await readBody(request.raw, { clock, limits: { bodyBytes, timeoutMs: requestTimeoutMs } });
      if (csr.length === 0) throw new SallyportError('CSR_MISSING');
      const issued = await issuer.issue({
        nodeName: headerText(headers, 'nodename'),
        csr,
        token,
        peer: peer.verdict,
        peerCertificate: peer.certificate,
        extKeyUsages: usages,
        remoteAddress: peer.address,
      });
      return certificate(reply, issued.der);
    },
  });
}

function certificate(reply: FastifyReply, der: Uint8Array): FastifyReply {
  return reply.headers(SECURITY_HEADERS).type(CERTIFICATE_TYPE).send(Buffer.from(der));
}
