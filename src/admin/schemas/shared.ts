import { ERRORS } from '../../core/error-table.ts';
import type { ErrorCode } from '../../core/errors.ts';
import * as z from '../../core/zod.ts';
import { LISTENER_NAMES } from '../../protocol/listener-names.ts';
import { NODE_NAME } from '../../protocol/node-name.ts';

/**
 * Shapes of the admin API: requests are checked with them, and the OpenAPI document is made of them. There is
 * a file for each of its tags; this one holds what they share.
 */

export const nodeName = z
  .string()
  .max(253)
  .regex(NODE_NAME, 'is not a node name')
  .meta({ description: 'Name of a node: a DNS subdomain, at most 253 characters' });
export const time = z.string().meta({ format: 'date-time', description: 'ISO 8601' });
export const label = z.string().min(1).max(256);
export const count = z.int().min(0);

export const nodeParams = z.strictObject({ node: nodeName });

export const unanswered = z
  .array(z.object({ replica: z.string(), problem: z.string() }))
  .meta({ description: 'Replicas whose part is missing, and why; `*` for those that are not known now' });
/** A whole number as it stands in a query: digits, and nothing else that JavaScript takes for a number. */
export const inQuery = (schema: z.ZodType<number, number>) =>
  z.preprocess((text) => (/^\d{1,15}$/.test(String(text)) ? Number(text) : text), schema);

export const listenerName = z.enum(LISTENER_NAMES);
export const listenerInfo = z.object({
  name: listenerName,
  host: z.string(),
  port: z.int(),
  servedFingerprint: z.string(),
  detail: z.string().optional(),
});
export const error = z.object({
  code: z
    .enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]])
    .meta({ description: 'docs/errors.md lists them' }),
  message: z.string(),
  fix: z.string().meta({ description: 'What to do about it' }),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
});
export const failure = z.object({ error });
