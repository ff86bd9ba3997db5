import * as z from '../../core/zod.ts';
import { listenerInfo, listenerName, time } from './shared.ts';

export const certificateInfo = z.object({
  kind: z.enum(['ca', 'client-ca', 'hub', 'fleet-token']),
  secret: z.string(),
  subject: z.string(),
  issuer: z.string(),
  serial: z.string(),
  sha256: z.string(),
  notBefore: time,
  notAfter: time,
  names: z.array(z.string()),
  managed: z.boolean(),
  external: z.boolean(),
});
export const certificates = z.object({
  certificates: z.array(certificateInfo),
  wantedFingerprint: z.string(),
  storedHubSha256: z
    .string()
    .optional()
    .meta({ description: 'SHA-256 of the hub certificate in the Secret; absent when it is not valid' }),
  lastReload: z.string(),
  problem: z.string().optional(),
  listeners: z.array(
    listenerInfo.extend({
      address: z.string().meta({ description: 'host:port' }),
      servesWanted: z.boolean().meta({ description: 'True when new handshakes get the wanted bundle' }),
    }),
  ),
});

export const servedCertificates = z.object({
  items: z.array(
    z.object({
      replica: z.string(),
      listener: listenerName,
      wantedSha256: z
        .string()
        .meta({ description: 'SHA-256 of the hub certificate the replica wants to serve' }),
      servedSha256: z.string().optional().meta({ description: 'What a handshake showed' }),
      notAfter: time.optional(),
      checkedAt: time,
      problem: z.string().optional(),
    }),
  ),
});
