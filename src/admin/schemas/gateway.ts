import * as z from '../../core/zod.ts';
import { count, listenerInfo, time, unanswered } from './shared.ts';

export const backup = z.object({
  secret: z.string().meta({ description: 'Secret of the record' }),
  last: z
    .object({ at: time, caSha256: z.array(z.string()), revocationVersion: count })
    .optional()
    .meta({ description: 'Absent when no backup was recorded' }),
  coversCa: z.boolean().meta({ description: 'True when the CA in use is in the last backup' }),
  problem: z.string().optional(),
});

export const info = z.object({
  version: z.string(),
  replica: z.string(),
  startedAt: time,
  now: time,
  secretStore: z.string(),
  bus: z.string(),
  advertise: z.array(z.string()),
  caSha256: z.string(),
  draining: z.boolean(),
  nodes: count,
  listeners: z.array(listenerInfo),
  quicOff: z.string().optional(),
  namesake: z
    .string()
    .optional()
    .meta({ description: 'What to do when another running gateway has this name' }),
});

export const ownInfo = info.extend({
  caller: z
    .object({ name: z.string(), role: z.enum(['viewer', 'operator']) })
    .meta({ description: 'Who asks; a viewer may only read' }),
});

export const replicaList = z.object({ items: z.array(info), unanswered });
