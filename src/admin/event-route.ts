import type { FastifyInstance, FastifyRequest } from 'fastify';
import type * as z from '../core/zod.ts';
import type { AdminRole } from '../identity/admin-gate.ts';
import { parse } from './api-route.ts';
import type { EventStreams } from './event-stream.ts';
import type { DocumentedRoute } from './openapi.ts';
import { eventQuery, hubEvent } from './schemas/messages.ts';

export const eventRoute = {
  method: 'GET',
  path: '/api/v1/events',
  operationId: 'followEvents',
  tag: 'Messages',
  summary:
    'Follow what nodes send, what is sent to them, and their coming and going; Last-Event-ID resumes within the bounded buffer of the hub, and an event tells what was missed',
  query: eventQuery,
  produces: 'text/event-stream',
  events: hubEvent,
  answers: {
    200: {
      description: 'Server-Sent Events: id, event (message, connected, disconnected, missed), data (JSON)',
    },
  },
} satisfies DocumentedRoute;

export interface EventRouteComponents {
  readonly streams: EventStreams;
  readonly isAllowed: (request: FastifyRequest) => boolean | Promise<boolean>;
}

export function serveEvents(app: FastifyInstance, { streams, isAllowed }: EventRouteComponents): void {
  const options = { exposeHeadRoute: false, config: { needs: roleFor } };
  app.get(eventRoute.path, options, (request, reply) => {
    const query = parse(eventQuery, request.query, 'query') as z.output<typeof eventQuery>;
    const { type, direction, afterId: queryId, ...filter } = defined(query);
    const header = request.headers['last-event-id'];
    const afterId = typeof header === 'string' && header !== '' ? header : queryId;
    streams.follow({
      filter: {
        ...filter,
        ...(type === undefined ? {} : { types: type }),
        ...(direction === undefined ? {} : { directions: direction }),
      },
      ...(afterId === undefined ? {} : { afterId }),
      response: reply.raw,
      isAllowed: () => isAllowed(request),
    });
    reply.hijack();
  });
}

/** What is sent to nodes has secrets among it: configuration, tokens of service accounts. */
function roleFor({ query }: Pick<FastifyRequest, 'query'>): AdminRole {
  const { direction } = query as { readonly direction?: unknown };
  return [direction].flat().includes('downstream') ? 'operator' : 'viewer';
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Leaves out what is undefined, for types that tell absent from undefined. */
function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Defined<T>;
}
