import * as z from '../../core/zod.ts';
import { REVOCATION_REASONS, type RevocationReason } from '../../identity/revocation-reasons.ts';
import { count, label, nodeName, time } from './shared.ts';

const serial = z
  .string()
  .max(60)
  .regex(/^[: ]*(?:[0-9a-fA-F][: ]*){1,40}$/, 'is not a serial number of 1 to 20 octets in hexadecimal')
  .meta({ description: 'Serial number, hexadecimal, colons allowed' });
const reason = z
  .enum(Object.keys(REVOCATION_REASONS) as [RevocationReason, ...RevocationReason[]])
  .meta({ description: 'Word of RFC 5280 section 5.3.1' });
const note = z
  .string()
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  .regex(/^[^\u0000-\u001f\u007f-\u009f]*$/, 'holds control characters')
  .meta({ description: 'For people; edges are not told' });
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'is not a SHA-256 in lower-case hexadecimal');
const issuerSha256 = sha256.meta({
  description: 'Only a certificate of this CA (SHA-256 of its DER); without it the serial of any',
});
const oneTarget = ({ node, serial }: { node?: string | undefined; serial?: string | undefined }) =>
  (node !== undefined) !== (serial !== undefined);
const ONE_TARGET = { oneOf: [{ required: ['node'] }, { required: ['serial'] }] };
export const revokeBody = z
  .strictObject({
    node: nodeName.optional(),
    serial: serial.optional(),
    issuerSha256: issuerSha256.optional(),
    reason: reason.default('unspecified'),
    note: note.optional(),
  })
  .refine(oneTarget, 'needs either node or serial')
  .meta(ONE_TARGET);
export const quarantineBody = z.strictObject({ node: nodeName, note: note.optional() });
export const liftBody = z
  .strictObject({
    node: nodeName.optional(),
    serial: serial.optional(),
    issuerSha256: issuerSha256.optional(),
    rejoin: z.boolean().default(false).meta({
      description: 'Of a node: it may join again, and its certificates of before stay revoked',
    }),
  })
  .refine(oneTarget, 'needs either node or serial')
  .meta(ONE_TARGET);
export const revocationParams = z.strictObject({ id: label });
export const revocation = z.object({
  id: z.string(),
  kind: z.enum(['node', 'certificate']),
  node: z.string().optional(),
  serial: z.string().optional(),
  issuerSha256: z.string().optional(),
  reason,
  at: time,
  by: z.string(),
  note: z.string().optional(),
  version: count,
  certificates: z.array(z.object({ serial: z.string(), issuerSha256: z.string() })).optional(),
  rejoinedBefore: time.optional(),
});
export const revocationList = z.object({ version: count, items: z.array(revocation) });
export const revocationReceipt = z.object({
  revocation: revocation.optional(),
  unknownNode: z.boolean().optional().meta({
    description:
      'True when no node of this name has ever had a certificate or a session: perhaps the name is wrong. The decision is in force all the same',
  }),
  version: count.meta({ description: 'Version of the list that holds the decision' }),
  complete: z.boolean().meta({ description: 'Every replica that is alive has it in force' }),
  replicas: z.array(
    z.object({
      replica: z.string(),
      version: count,
      appliedAt: time,
      aliveAt: time,
      alive: z.boolean(),
      closed: z.array(
        z.object({
          revocation: z.string(),
          node: z.string(),
          sessionId: z.string(),
          transport: z.string(),
          at: time,
        }),
      ),
    }),
  ),
});
