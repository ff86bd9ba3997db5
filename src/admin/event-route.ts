import type { FastifyInstance, FastifyRequest } from 'fastify';
import type * as z from '../core/zod.ts';
import { parse } from './api-route.ts';
import type { EventStreams } from './event-stream.ts';
import type { DocumentedRoute } from './openapi.ts';
import { eventQuery, upstreamEvent } from './schemas.ts';

export const eventRoute = {
  method: 'GET',
  path: '/api/v1/events',
  operationId: 'followEvents',
  tag: 'Messages',
  summary:
    'Follow what nodes send, and their coming and going; Last-Event-ID resumes within the bounded buffer of the hub, and an event tells what was missed',
  query: eventQuery,
  produces: 'text/event-stream',
  events: upstreamEvent,
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
  app.get(eventRoute.path, { exposeHeadRoute: false }, (request, reply) => {
    const query = parse(eventQuery, request.query, 'query') as z.output<typeof eventQuery>;
    const { type, afterId: queryId, ...filter } = defined(query);
    const header = request.headers['last-event-id'];
    const afterId = typeof header === 'string' && header !== '' ? header : queryId;
    streams.follow({
      filter: { ...filter, ...(type === undefined ? {} : { types: type }) },
      ...(afterId === undefined ? {} : { afterId }),
      response: reply.raw,
      isAllowed: () => isAllowed(request),
    });
    reply.hijack();
  });
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Leaves out what is undefined, for types that tell absent from undefined. */
function defined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Defined<T>;
}
