import * as z from '../../core/zod.ts';
import { count, inQuery, time } from './shared.ts';

const rolloverCa = z.object({ sha256: z.string(), subject: z.string(), notAfter: time });
const rolloverSide = z.enum(['current', 'old', 'new', 'other']);
const rolloverStep = z.enum(['prepare', 'activate', 'retire', 'revoke', 'abort']);
export const rolloverParams = z.strictObject({ step: rolloverStep });
export const rolloverQuery = z.strictObject({
  limit: inQuery(z.number().int().min(0).max(100_000)).default(100).meta({
    description: 'How many nodes at most; those that depend on the other CA come first',
  }),
});
export const rolloverBody = z.strictObject({
  force: z.boolean().default(false).meta({ description: 'Do it although something speaks against it' }),
});
export const rolloverStatus = z.object({
  phase: z.enum(['idle', 'prepared', 'active', 'retiring', 'revoking']),
  version: count,
  issuing: rolloverCa,
  old: rolloverCa.optional(),
  new: rolloverCa.optional(),
  bridgedUntil: time.optional(),
  steps: z.array(
    z.object({ step: rolloverStep, at: time, by: z.string(), forced: z.literal(true).optional() }),
  ),
  asking: z.boolean(),
  replicas: z.array(z.object({ replica: z.string(), version: count, at: time })),
  nodes: z.object({ total: count, current: count, old: count, new: count, other: count, dependent: count }),
  summary: z.string(),
  next: z.array(z.object({ step: rolloverStep, blockers: z.array(z.string()) })),
  warnings: z.array(z.string()),
  items: z.array(
    z.object({
      node: z.string(),
      issuedBy: rolloverSide,
      trusts: z.array(rolloverSide),
      trustsFrom: z.enum(['reported', 'inferred']),
      serial: z.string(),
      notAfter: time,
      connected: z.boolean(),
      lastSeen: time.optional(),
      dependent: z.boolean(),
      note: z.string().optional(),
    }),
  ),
});
