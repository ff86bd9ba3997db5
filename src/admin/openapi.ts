import * as z from '../core/zod.ts';
import type { ApiRoute } from './api-route.ts';
import * as certificates from './schemas/certificates.ts';
import * as gateway from './schemas/gateway.ts';
import * as messages from './schemas/messages.ts';
import * as nodes from './schemas/nodes.ts';
import * as revocations from './schemas/revocations.ts';
import * as rollover from './schemas/rollover.ts';
import * as shared from './schemas/shared.ts';
import * as tokens from './schemas/tokens.ts';

/** What the document tells of a route that is served by hand (event stream, metrics, probes). */
export type DocumentedRoute = Omit<ApiRoute, 'handle'> & {
  /** Media type of the answers; JSON unless said otherwise. */
  readonly produces?: string;
  /** False for what is served without a certificate. */
  readonly authenticated?: boolean;
  /** What each `data` of an event stream holds. */
  readonly events?: z.ZodType;
};

type Direction = 'input' | 'output';

/**
 * The OpenAPI 3.1 document of the admin API, made of the very routes and schemas that serve it. A schema is
 * named as a file of `schemas/` exports it.
 */
export function openApiDocument(routes: readonly DocumentedRoute[], version: string): object {
  const used: Record<Direction, Set<z.ZodType>> = { input: new Set(), output: new Set([shared.failure]) };
  const refer = (direction: Direction, schema: z.ZodType): object => {
    used[direction].add(schema);
    return { $ref: refOf(nameOf(schema)) };
  };
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, refer) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport admin API',
      version,
      description:
        'For cloud programs and operators. They authenticate with a certificate, or in a cluster with a bearer token whose owner may use the non-resource URL /sallyport/admin. Viewers (O=sallyport:viewers, verb get) read; operators (O=sallyport:admins, verb post too) also change things.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    tags: [...new Set(routes.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: {
      schemas: { ...namedSchemas('output', used.output), ...namedSchemas('input', used.input) },
      securitySchemes: {
        mutualTLS: {
          type: 'mutualTLS',
          description: 'Certificate of O=sallyport:admins or O=sallyport:viewers',
        },
        bearer: { type: 'http', scheme: 'bearer', description: 'Kubernetes token; in a cluster only' },
      },
    },
    security: [{ mutualTLS: [] }, { bearer: [] }],
  };
}

function operation(
  route: DocumentedRoute,
  refer: (direction: Direction, schema: z.ZodType) => object,
): object {
  const produces = route.produces ?? 'application/json';
  const isText = produces.startsWith('text/');
  const responses: Record<string, object> = {};
  for (const [status, { description, schema }] of Object.entries(route.answers)) {
    const body = schema ? refer('output', schema) : isText ? { type: 'string' } : undefined;
    const events = route.events && { 'x-event-data': refer('output', route.events) };
    const content = body && { content: { [produces]: { schema: body, ...events } } };
    responses[status] = { description, ...content };
  }
  responses.default = {
    description: 'what went wrong and what to do',
    content: { 'application/json': { schema: refer('output', shared.failure) } },
  };
  const parameters = [...parametersOf(route.params, 'path'), ...parametersOf(route.query, 'query')];
  const requestBody = route.body && {
    required: !route.body.safeParse({}).success,
    content: { 'application/json': { schema: refer('input', route.body) } },
  };
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(requestBody ? { requestBody } : {}),
    responses,
    ...(route.authenticated === false ? { security: [] } : {}),
  };
}

function parametersOf(schema: z.ZodType | undefined, where: 'path' | 'query'): object[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { io: 'input' });
  return Object.entries(properties).map(([name, property]) => {
    const { description, ...rest } = property as { readonly description?: string };
    return {
      name,
      in: where,
      required: required.includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

/** JSON Schemas by name. What one holds of the others it refers to. */
function namedSchemas(io: Direction, used: ReadonlySet<z.ZodType>): Record<string, object> {
  const registry = z.registry<{ id: string }>();
  for (const schema of used) registry.add(schema, { id: nameOf(schema) });
  const { schemas: named } = z.toJSONSchema(registry, { io, uri: refOf, unrepresentable: 'any' });
  return Object.fromEntries(
    Object.entries(named).map(([name, { $id, $schema, ...schema }]) => [name, schema]),
  );
}

const refOf = (name: string) => `#/components/schemas/${name}`;

const names = new Map<unknown, string>(
  [certificates, gateway, messages, nodes, revocations, rollover, shared, tokens]
    .flatMap((file) => Object.entries<unknown>(file))
    .map(([name, schema]) => [schema, name[0]!.toUpperCase() + name.slice(1)]),
);

function nameOf(schema: z.ZodType): string {
  const name = names.get(schema);
  if (name === undefined) throw new TypeError('openapi.ts knows no file of schemas/ that exports the schema');
  return name;
}
