import { z } from 'zod';
import { configSchema } from './schema.ts';

/** One leaf of the configuration, as documentation, environment and flags see it. */
export interface Setting {
  /** Dotted, `hub.queue.ttlMs`. */
  readonly path: string;
  /** `SALLYPORT_HUB_QUEUE_TTL_MS`. */
  readonly env: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object';
  readonly allowed?: readonly string[];
  readonly default: unknown;
  readonly description: string;
  /** A running gateway takes a change over without a restart. */
  readonly live: boolean;
}

interface SchemaNode {
  readonly type?: Setting['type'];
  /** A setting of one type that also takes some words; the type comes first. */
  readonly anyOf?: readonly SchemaNode[];
  readonly properties?: Record<string, SchemaNode>;
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly live?: boolean;
}

/** JSON Schema (draft 2020-12) of a configuration file. */
export function configJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configSchema, { io: 'input', target: 'draft-2020-12' }) as Record<string, unknown>;
}

let known: readonly Setting[] | undefined;

/** Every setting, in the order of the schema. */
export function listSettings(): readonly Setting[] {
  known ??= readSettings();
  return known;
}

function readSettings(): readonly Setting[] {
  const settings: Setting[] = [];
  const walk = (node: SchemaNode, path: readonly string[]) => {
    if (node.properties) {
      for (const [key, child] of Object.entries(node.properties)) walk(child, [...path, key]);
      return;
    }
    const allowed = node.enum ?? (node.const === undefined ? undefined : [node.const]);
    settings.push({
      path: path.join('.'),
      env: environmentName(path),
      type: node.type ?? node.anyOf?.[0]?.type ?? 'string',
      ...(allowed ? { allowed } : {}),
      default: node.default,
      description: node.description ?? '',
      live: node.live ?? false,
    });
  };
  walk(configJsonSchema() as SchemaNode, []);
  return settings;
}

function environmentName(path: readonly string[]): string {
  return ['SALLYPORT', ...path.map((key) => key.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase())].join('_');
}
