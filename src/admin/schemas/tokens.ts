import * as z from '../../core/zod.ts';
import { TOKEN_LIFETIME_MS } from '../../identity/token-lifetime.ts';
import { nodeName, time } from './shared.ts';

export const tokenBody = z
  .strictObject({
    node: nodeName.optional(),
    ttlMs: z
      .int()
      .min(TOKEN_LIFETIME_MS.min)
      .max(TOKEN_LIFETIME_MS.max)
      .optional()
      .meta({ description: 'Lifetime, milliseconds; only with node' }),
    fleet: z.boolean().default(false).meta({ description: 'The fleet token, which enrols any node' }),
  })
  .refine(({ node, fleet }) => (node !== undefined) !== fleet, 'needs either node or fleet, not both')
  .refine(({ ttlMs, fleet }) => !(fleet && ttlMs !== undefined), 'cannot set ttlMs of the fleet token')
  .meta({
    oneOf: [
      { required: ['node'], properties: { fleet: { const: false } } },
      {
        required: ['fleet'],
        properties: { fleet: { const: true } },
        not: { anyOf: [{ required: ['node'] }, { required: ['ttlMs'] }] },
      },
    ],
  });
export const token = z.object({ token: z.string(), expiresAt: time });
