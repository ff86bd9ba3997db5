import * as z from '../core/zod.ts';
import type { ApiRoute } from './api-route.ts';
import { failure } from './schemas.ts';

/** What the document tells of a route that is served by hand (event stream, metrics, probes). */
export type DocumentedRoute = Omit<ApiRoute, 'handle'> & {
  /** Media type of the answers; JSON unless said otherwise. */
  readonly produces?: string;
  /** False for what is served without a certificate. */
  readonly authenticated?: boolean;
};

/** The OpenAPI 3.1 document of the admin API, made of the very routes and schemas that serve it. */
export function openApiDocument(routes: readonly DocumentedRoute[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport admin API',
      version,
      description: 'For cloud programs and operators. Authentication is mutual TLS with O=sallyport:admins.',
    },
    paths,
    components: {
      schemas: { Error: jsonSchema(failure, 'output') },
      securitySchemes: { mutualTLS: { type: 'mutualTLS' } },
    },
    security: [{ mutualTLS: [] }],
  };
}

function operation(route: DocumentedRoute): object {
  const produces = route.produces ?? 'application/json';
  const responses: Record<string, object> = {};
  for (const [status, { description, schema }] of Object.entries(route.answers)) {
    const content = schema && { [produces]: { schema: jsonSchema(schema, 'output') } };
    responses[status] = { description, ...(content ? { content } : {}) };
  }
  responses.default = {
    description: 'what went wrong and what to do',
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
  };
  const parameters = [...parametersOf(route.params, 'path'), ...parametersOf(route.query, 'query')];
  return {
    operationId: operationId(route),
    summary: route.summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(route.body
      ? {
          requestBody: {
            required: true,
            content: { 'application/json': { schema: jsonSchema(route.body, 'input') } },
          },
        }
      : {}),
    responses,
    ...(route.authenticated === false ? { security: [] } : {}),
  };
}

function parametersOf(schema: z.ZodType | undefined, where: 'path' | 'query'): object[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as {
    properties?: Record<string, { description?: string }>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: where,
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: rest,
  }));
}

/** `GET /api/v1/nodes/:node` → `getNodesNode`. */
function operationId({ method, path }: DocumentedRoute): string {
  const words = path.replace(/^\/api\/v1/, '').match(/[a-z0-9]+/gi) ?? [];
  return method.toLowerCase() + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('');
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Record<
    string,
    unknown
  >;
  return rest;
}
