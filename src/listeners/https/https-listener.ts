import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import type { CertificateBundle } from '../../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, KnockRequest } from '../../contracts/handshake.ts';
import type { BundleTrial, ListenAddress, Listener } from '../../contracts/listener.ts';
import type { RejectionReport, RejectionSink } from '../../contracts/rejections.ts';
import type { TlsServer } from '../../contracts/tls-server.ts';
import { askHttps } from '../../core/ask-https.ts';
import { SallyportError } from '../../core/errors.ts';
import type { HealthRegistry } from '../../core/health.ts';
import { toSallyportError } from '../../core/http-errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Metrics } from '../../core/metrics.ts';
import { OWN_PROBE } from '../../core/own-probe.ts';
import { rejectionFacts, rejectionReason } from '../../identity/rejection-reason.ts';
import type { CloseReason } from '../../protocol/close-reasons.ts';
import { isNodeName } from '../../protocol/node-name.ts';
import { RefusalReporter } from '../refusals.ts';
import { type EnrolmentComponents, enrolmentRoutes } from './enrolment-routes.ts';
import { healthRoutes } from './health-routes.ts';
import { type NodeRouteComponents, nodeRoutes } from './node-routes.ts';
import type { HttpsOptions } from './options.ts';
import { type Gate, type Peer, peerReader } from './peer.ts';
import { answerClientError, sendError } from './plain-answers.ts';
import { type ReportRouteComponents, reportRoutes } from './report-routes.ts';
import { headerText } from './request-headers.ts';
import { observeRequests } from './request-observer.ts';
import { type TicketRouteComponents, ticketRoute } from './ticket-route.ts';

export type HttpsComponents = Omit<
  EnrolmentComponents & NodeRouteComponents & ReportRouteComponents & TicketRouteComponents,
  'peerOf'
> & {
  /** The TLS server of this listener alone. */
  readonly server: TlsServer;
  readonly gate: Gate;
  readonly health: HealthRegistry;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly rejections?: RejectionSink | undefined;
};

/**
 * Enrolment, renewal and health over HTTPS, in the words of KubeEdge (PROTOCOL: port 10002). A client
 * certificate is optional.
 */
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

  get servesAs(): string {
    return this.#server.servesAs;
  }

  tryBundle(next: CertificateBundle, visit: (trial: BundleTrial) => Promise<void>): Promise<void> {
    return this.#server.tryBundle(next, visit);
  }

  handshake(request: HandshakeRequest): Promise<HandshakeResult> {
    return this.#server.handshake(request);
  }

  knock({ node, csr, ...request }: KnockRequest): Promise<number> {
    return this.#server.probe(request, (own) =>
      askHttps(own, { method: 'POST', path: '/edge.crt', headers: { NodeName: node }, body: csr }),
    );
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
  const { server, log, metrics, clock, rejections } = components;
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
  // EdgeCore's GET has a body, and fastify reads none of a GET: so fastify reads no body at all, `readBody`
  // does, for both methods alike.
  app.addHttpMethod('POST', { hasBody: false, overrideExisting: true });

  const peerOf = peerReader(components);
  const refusals = new RefusalReporter({ clock, log, metrics, rejections }, 'https');
  const observer = observeRequests(app, { server, clock, log, metrics });
  app.setErrorHandler((cause, request, reply) => {
    const error = toSallyportError(cause);
    const peer = peerOf(request);
    const { verdict, address } = peer;
    if (address === OWN_PROBE) return sendError(request, reply, error, verdict);
    if (error.code === 'PEER_REFUSED' && verdict?.ok === false) refusals.report(verdict, address);
    else {
      observer.failed(request, error, rejectionReason(error, verdict));
      const rejection = rejectionOf(request, error, peer);
      if (rejection) rejections?.record(rejection);
    }
    return sendError(request, reply, error, verdict);
  });
  app.setNotFoundHandler((request, reply) => sendError(request, reply, new SallyportError('NOT_FOUND')));
  enrolmentRoutes(app, { ...components, peerOf }, options);
  nodeRoutes(app, { ...components, peerOf }, options);
  reportRoutes(app, { ...components, peerOf }, options);
  ticketRoute(app, { ...components, peerOf }, options);
  healthRoutes(app, components);
  return app;
}

/**
 * Undefined when the request was not refused for who makes it or how: our own faults, and paths that lead
 * nowhere.
 */
function rejectionOf(
  { headers, routeOptions }: FastifyRequest,
  error: SallyportError,
  { verdict, node, address }: Peer,
): RejectionReport | undefined {
  if (error.status >= 500 || routeOptions.url === undefined || error.code === 'NOT_FOUND') return undefined;
  const claimed = headerText(headers, 'nodename');
  return {
    listener: 'https',
    reason: rejectionReason(error, verdict),
    remoteAddress: address,
    node,
    // Of a header anybody can send.
    claimedNode: isNodeName(claimed) ? claimed : undefined,
    detail: error.message,
    facts: rejectionFacts(error, verdict),
  };
}
