import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import type { AuditTrail } from '../contracts/audit-trail.ts';
import type { BearerReviewer } from '../contracts/bearer-reviewer.ts';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { HandshakeRequest, HandshakeResult, KnockRequest } from '../contracts/handshake.ts';
import type { BundleTrial, ListenAddress, Listener } from '../contracts/listener.ts';
import type { RejectionSink } from '../contracts/rejections.ts';
import type { TlsServer } from '../contracts/tls-server.ts';
import { askHttps } from '../core/ask-https.ts';
import { SallyportError } from '../core/errors.ts';
import type { HealthRegistry } from '../core/health.ts';
import { SECURITY_HEADERS } from '../core/http-errors.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import { type Authenticate, isAdmin, requireAdmin } from './admin-access.ts';
import { serveRoutes } from './api-route.ts';
import { auditCalls } from './audited-calls.ts';
import { eventRoute, serveEvents } from './event-route.ts';
import { type EventStreamComponents, EventStreams } from './event-stream.ts';
import { type GatewayRouteComponents, gatewayRoutes } from './gateway-routes.ts';
import { type HistoryRouteComponents, historyRoutes } from './history-routes.ts';
import { answerClientError, sendFailure, toAdminError } from './json-errors.ts';
import { type NodeRouteComponents, nodeRoutes } from './node-routes.ts';
import { openApiDocument } from './openapi.ts';
import { type AdminOptions, DEFAULT_ADMIN_OPTIONS } from './options.ts';
import { plainRoutes, servePlain } from './plain-routes.ts';
import { type RejectionRouteComponents, rejectionRoutes } from './rejection-routes.ts';
import { type ReplicaRouteComponents, replicaRoutes } from './replica-routes.ts';
import { readBody } from './request-body.ts';
import { type RevocationRouteComponents, revocationRoutes } from './revocation-routes.ts';
import { type RolloverRouteComponents, rolloverRoutes } from './rollover-routes.ts';
import { serveStatusPage, statusPageRoute } from './status-page.ts';

export type AdminComponents = NodeRouteComponents &
  GatewayRouteComponents &
  RevocationRouteComponents &
  RolloverRouteComponents &
  HistoryRouteComponents &
  RejectionRouteComponents &
  ReplicaRouteComponents &
  EventStreamComponents & {
    /** The TLS server of this listener alone. */
    readonly server: TlsServer;
    readonly authenticate: Authenticate;
    readonly hosts: () => readonly string[];
    /** Undefined without a cluster. */
    readonly reviewer?: BearerReviewer | undefined;
    readonly health: HealthRegistry;
    readonly log: Logger;
    readonly metrics: Metrics;
    readonly rejections: RejectionSink;
    readonly audit: AuditTrail;
  };

/** The API for operators and cloud programs, over mutual TLS with the hub's certificate. */
export class AdminListener implements Listener {
  readonly name = 'admin';
  readonly #server: TlsServer;
  readonly #streams: EventStreams;
  readonly #app: FastifyInstance;
  readonly #unsubscribe: Unsubscribe;

  constructor(components: AdminComponents, options: Partial<AdminOptions> = {}) {
    const complete = { ...DEFAULT_ADMIN_OPTIONS, ...options };
    this.#server = components.server;
    this.#streams = new EventStreams(components, complete);
    this.#app = createApp(components, this.#streams, complete);
    this.#unsubscribe = components.revocations.onChange(() => this.#streams.recheck());
  }

  async start(): Promise<void> {
    await this.#app.ready();
    await this.#server.start();
  }

  applyBundle(next: CertificateBundle): void {
    this.#server.applyBundle(next);
    // Trust changes end old trust: who follows events must still be let in.
    this.#streams.recheck();
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

  knock(request: KnockRequest): Promise<number> {
    return this.#server.probe(request, (own) => askHttps(own, { path: '/api/v1/nodes' }));
  }

  servedFingerprint(): string {
    return this.#server.servedFingerprint();
  }

  address(): ListenAddress {
    return this.#server.address();
  }

  async stop(_reason: CloseReason, signal: AbortSignal): Promise<void> {
    this.#unsubscribe();
    this.#streams.endAll('the gateway is shutting down');
    await this.#server.stop(signal);
    await this.#app.close();
  }
}

function createApp(
  components: AdminComponents,
  streams: EventStreams,
  options: AdminOptions,
): FastifyInstance {
  const { server, info, log } = components;
  const app = fastify({
    serverFactory: (handler) => {
      server.server.on('request', handler);
      return server.server;
    },
    logger: false,
    bodyLimit: options.bodyBytes,
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, _request, reply) => {
      sendFailure(reply, toAdminError(error, options.bodyBytes));
    },
    routerOptions: { maxParamLength: 512 },
    return503OnClosing: false,
  });
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, bytes, done) => {
    try {
      done(null, readBody(bytes as Buffer));
    } catch (error) {
      done(error as Error);
    }
  });
  app.setErrorHandler((cause, request, reply) => {
    const error = toAdminError(cause, options.bodyBytes);
    const fields = { route: request.routeOptions.url, method: request.method, code: error.code };
    // Who went away while a message was waiting for its acknowledgement hears nothing, and nothing failed.
    const isGone = reply.raw.destroyed && (cause as Error).name === 'AbortError';
    if (error.status >= 500 && !isGone) log.error({ ...fields, err: error }, 'admin request failed');
    else log.debug(fields, 'admin request refused');
    return sendFailure(reply, error);
  });
  app.setNotFoundHandler(() => {
    throw new SallyportError('NOT_FOUND');
  });
  app.addHook('onSend', async (_request, reply) => {
    // The status page has a policy of its own.
    void reply.headers({ ...SECURITY_HEADERS, ...(reply.getHeaders() as Record<string, string>) });
  });
  requireAdmin(app, components);
  auditCalls(app, components);
  const refuseOtherMethods = knownMethods(app);

  const routes = [
    ...gatewayRoutes(components),
    ...historyRoutes(components),
    ...nodeRoutes(components),
    ...revocationRoutes(components),
    ...rolloverRoutes(components),
    ...rejectionRoutes(components),
    ...replicaRoutes(components),
  ];
  serveRoutes(app, routes);
  const isAllowed = (request: FastifyRequest) => isAdmin(request, components);
  serveEvents(app, { streams, isAllowed });
  servePlain(app, { ...components, isAllowed });
  serveStatusPage(app);
  const documented = [...routes, eventRoute, ...plainRoutes, statusPageRoute];
  app.get('/openapi.json', async () => openApiDocument(documented, info().version));
  refuseOtherMethods();
  return app;
}

/**
 * Remembers what each path takes.
 * @returns to be called when all routes are there: any other method of their paths is METHOD_NOT_ALLOWED
 */
function knownMethods(app: FastifyInstance): () => void {
  const known = new Map<string, Set<string>>();
  let complete = false;
  app.addHook('onRoute', ({ url, method }) => {
    if (complete) return;
    known.set(url, new Set([...(known.get(url) ?? []), ...[method].flat()]));
  });
  return () => {
    complete = true;
    for (const [url, methods] of known) {
      const allow = [...methods].join(', ');
      app.route({
        url,
        method: app.supportedMethods.filter((method) => !methods.has(method)),
        // Before a body is looked at.
        onRequest: async () => {
          throw new SallyportError('METHOD_NOT_ALLOWED', { allow });
        },
        handler: async () => {},
      });
    }
  };
}
