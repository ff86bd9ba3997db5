import * as z from '../core/zod.ts';
import { configSchema, type SectionName, sections } from './schema.ts';

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

/** What we read of a schema of Zod. */
interface SchemaNode {
  readonly def: {
    readonly type: string;
    readonly format?: string;
    readonly innerType?: SchemaNode;
    readonly defaultValue?: unknown;
    readonly shape?: Readonly<Record<string, SchemaNode>>;
    readonly entries?: Readonly<Record<string, string>>;
    readonly values?: readonly string[];
    readonly options?: readonly SchemaNode[];
  };
  meta(): { readonly description?: string; readonly live?: boolean } | undefined;
}

/** JSON Schema (draft 2020-12) of a configuration file. */
export function configJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configSchema, { io: 'input', target: 'draft-2020-12' }) as Record<string, unknown>;
}

/** In the order of the schema. */
export const SECTION_NAMES = Object.keys(sections) as readonly SectionName[];

export const settingsOf = (section: SectionName): readonly Setting[] =>
  settingsIn(sections[section] as unknown as SchemaNode, [section]);

/** Every setting, in the order of the schema. */
export function listSettings(): readonly Setting[] {
  return SECTION_NAMES.flatMap(settingsOf);
}

/** Not out of the JSON Schema, whose making would cost every command line a sixth of its CPU. */
function settingsIn(
  node: SchemaNode,
  path: readonly string[],
  around: Partial<Setting> = {},
): readonly Setting[] {
  const { type, innerType, defaultValue, shape } = node.def;
  const found = { ...node.meta(), ...around, ...(type === 'default' ? { default: defaultValue } : {}) };
  if (innerType) return settingsIn(innerType, path, found);
  if (shape) return Object.entries(shape).flatMap(([key, child]) => settingsIn(child, [...path, key]));
  const allowed = allowedIn(node);
  return [
    {
      path: path.join('.'),
      env: environmentName(path),
      type: typeOf(node),
      ...(allowed ? { allowed } : {}),
      default: found.default,
      description: found.description ?? '',
      live: found.live ?? false,
    },
  ];
}

function allowedIn({ def: { entries, values } }: SchemaNode): readonly string[] | undefined {
  return entries ? Object.values(entries) : values;
}

/** Of a setting of one type that also takes some words, the type comes first. */
function typeOf({ def: { type, format, options } }: SchemaNode): Setting['type'] {
  switch (type) {
    case 'union':
      return typeOf(options![0]!);
    case 'number':
      return format === 'safeint' ? 'integer' : 'number';
    case 'boolean':
    case 'array':
      return type;
    case 'record':
      return 'object';
    default:
      return 'string';
  }
}

/** Of a setting, or what those of a section begin with. */
export function environmentName(path: readonly string[]): string {
  return ['SALLYPORT', ...path.map((key) => key.replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase())].join('_');
}
