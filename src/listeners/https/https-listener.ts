import { type FastifyInstance, fastify } from 'fastify';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { ListenAddress, Listener } from '../../contracts/listener.ts';
import type { TlsServer } from '../../contracts/tls-server.ts';
import { SallyportError } from '../../core/errors.ts';
import type { HealthRegistry } from '../../core/health.ts';
import { toSallyportError } from '../../core/http-errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { RefusalReason, Verdict } from '../../identity/node-identity.ts';
import type { CloseReason } from '../../protocol/close-reasons.ts';
import { RefusalReporter } from '../refusals.ts';
import { type EnrolmentComponents, enrolmentRoutes } from './enrolment-routes.ts';
import { healthRoutes } from './health-routes.ts';
import { type NodeRouteComponents, nodeRoutes } from './node-routes.ts';
import type { HttpsOptions } from './options.ts';
import { type Gate, peerReader } from './peer.ts';
import { answerClientError, sendError } from './plain-answers.ts';
import { observeRequests } from './request-observer.ts';
import { type TicketRouteComponents, ticketRoute } from './ticket-route.ts';

export type HttpsComponents = Omit<
  EnrolmentComponents & NodeRouteComponents & TicketRouteComponents,
  'peerOf'
> & {
  /** The TLS server of this listener alone. */
  readonly server: TlsServer;
  readonly gate: Gate;
  readonly health: HealthRegistry;
  readonly log: Logger;
  readonly metrics: Metrics;
};

/** Enrolment, renewal and health over HTTPS, in the words of KubeEdge (PROTOCOL: port 10002). A client certificate is optional. */
export class HttpsListener implements Listener {
  readonly name = 'https';
  readonly #server: TlsServer;
  readonly #app: FastifyInstance;

  /** @param options asked anew for each request */
  constructor(components: HttpsComponents, options: () => HttpsOptions) {
    this.#server = components.server;
    this.#app = createApp(components, options);
  }

  async start(): Promise<void> {
    await this.#app.ready();
    await this.#server.start();
  }

  applyBundle(next: CertificateBundle): void {
    this.#server.applyBundle(next);
  }

  servedFingerprint(): string {
    return this.#server.servedFingerprint();
  }

  address(): ListenAddress {
    return this.#server.address();
  }

  async stop(_reason: CloseReason, signal: AbortSignal): Promise<void> {
    await this.#server.stop(signal);
    await this.#app.close();
  }
}

function createApp(components: HttpsComponents, options: () => HttpsOptions): FastifyInstance {
  const { server, log, metrics, clock } = components;
  const app = fastify({
    serverFactory: (handler) => {
      server.server.on('request', handler);
      return server.server;
    },
    logger: false,
    clientErrorHandler: (error, socket) => {
      const status = answerClientError(error, socket);
      if (status !== undefined) metrics.httpRequests.inc({ route: 'none', status: String(status) });
    },
    // A path fastify cannot read (bad escapes, a parameter without end) never reaches the error handler.
    frameworkErrors: (error, request, reply) => {
      metrics.httpRequests.inc({ route: 'none', status: '400' });
      sendError(request, reply, toSallyportError(error));
    },
    routerOptions: { maxParamLength: 512 },
    return503OnClosing: false,
  });
  // EdgeCore's GET has a body, and fastify reads none of a GET: so fastify reads no body at all, `readBody` does, for both methods alike.
  app.addHttpMethod('POST', { hasBody: false, overrideExisting: true });

  const peerOf = peerReader(components);
  const refusals = new RefusalReporter({ clock, log, metrics }, 'https');
  const observer = observeRequests(app, { server, clock, log, metrics });
  app.setErrorHandler((cause, request, reply) => {
    const error = toSallyportError(cause);
    const refusal = error.code === 'PEER_REFUSED' ? peerOf(request).verdict : undefined;
    if (refusal?.ok === false) refusals.report(refusal, server.remoteAddress(request.raw.socket));
    else observer.failed(request, error);
    return sendError(request, reply, error, reasonOf(error, refusal));
  });
  app.setNotFoundHandler((request, reply) => sendError(request, reply, new SallyportError('NOT_FOUND')));
  enrolmentRoutes(app, { ...components, peerOf }, options);
  nodeRoutes(app, { ...components, peerOf }, options);
  ticketRoute(app, { ...components, peerOf }, options);
  healthRoutes(app, components);
  return app;
}

/** The word every transport uses for a refused peer, where there is one. */
function reasonOf({ code }: SallyportError, verdict: Verdict | undefined): RefusalReason | undefined {
  if (code === 'NODE_MISMATCH') return 'node-mismatch';
  if (code === 'NODE_REVOKED') return 'revoked';
  return verdict?.ok === false ? verdict.reason : undefined;
}
