import { z } from 'zod';
import { ERRORS } from '../core/errors.ts';
import { REVOCATION_REASONS, type RevocationReason } from '../identity/revocation-reasons.ts';
import { isNodeName } from '../protocol/node-name.ts';

/** Shapes of the admin API: requests are checked with them, and the OpenAPI document is made of them. */

const nodeName = z
  .string()
  .refine(isNodeName, 'is not a node name')
  .meta({ description: 'Name of a node: a DNS subdomain, at most 253 characters' });
const time = z.string().meta({ format: 'date-time', description: 'ISO 8601' });
const durationMs = (max: number, description: string) => z.int().min(1).max(max).meta({ description });
const label = z.string().min(1).max(256);
const count = z.int().min(0);

export const nodeParams = z.strictObject({ node: nodeName });

export const nodeInfo = z.object({
  node: z.string(),
  sessionId: z.string(),
  replica: z.string(),
  transport: z.enum(['websocket', 'quic', 'webtransport']),
  remoteAddress: z.string(),
  agent: z.string().optional(),
  projectId: z.string(),
  connectedSince: time,
  lastHeard: time,
  certificate: z.object({ serial: z.string(), sha256: z.string(), issuer: z.string(), notAfter: time }),
  queued: count,
  unacknowledged: count,
  messagesReceived: count,
  messagesSent: count,
  bytesReceived: count,
  bytesSent: count,
  rttMs: z.number().optional(),
});
export const unanswered = z
  .array(z.object({ replica: z.string(), problem: z.string() }))
  .meta({ description: 'Replicas whose part is missing, and why; `*` for those that are not known now' });
export const nodeList = z.object({ items: z.array(nodeInfo), unanswered });

export const message = z
  .looseObject({
    header: z.looseObject({
      msg_id: z.string(),
      parent_msg_id: z.string().optional(),
      timestamp: z.int(),
      resourceversion: z.string().optional(),
      sync: z.boolean().optional(),
      type: z.string().optional(),
    }),
    route: z.looseObject({
      source: z.string().optional(),
      destination: z.string().optional(),
      group: z.string().optional(),
      operation: z.string().optional(),
      resource: z.string().optional(),
    }),
    content: z.unknown(),
  })
  .meta({ description: 'A KubeEdge message as it is on the wire' });

export const sendBody = z.strictObject({
  resource: z.string().min(1).max(4096).meta({
    description: 'Resource, for example default/configmap/demo; a prefix node/<node>/ is understood',
  }),
  operation: label.meta({ description: 'insert, update, delete, query, response, …' }),
  content: z.unknown().meta({ description: 'Any JSON value' }),
  group: label.default('resource'),
  source: label
    .default('edgecontroller')
    .meta({ description: 'The cloud component EdgeCore believes it comes from' }),
  resourceVersion: label
    .optional()
    .meta({ description: 'Version of the object; a newer one replaces an older one that still waits' }),
  wait: z
    .enum(['ack', 'queued'])
    .default('queued')
    .meta({ description: 'ack: answer with the outcome; queued: answer at once' }),
  timeoutMs: durationMs(600_000, 'Longest wait for the outcome, milliseconds').optional(),
});
export const queued = z.object({ kind: z.literal('queued'), msgId: z.string() });
export const outcome = z.object({
  kind: z.enum(['acknowledged', 'sent', 'rejected', 'unacknowledged', 'superseded', 'expired', 'dropped']),
  msgId: z.string(),
  response: message.optional(),
  reason: z.string().optional(),
});

const oneOrMany = <T extends z.ZodType>(one: T) =>
  z.union([one.transform((value) => [value]), z.array(one).max(8)]);
export const eventTypes = z.enum(['message', 'connected', 'disconnected']);
export const eventQuery = z.strictObject({
  node: nodeName.optional(),
  type: oneOrMany(eventTypes).optional().meta({ description: 'Kinds of event; repeat it for several' }),
  group: label.optional(),
  source: label.optional(),
  operation: label.optional(),
  resourcePrefix: z.string().min(1).max(4096).optional(),
  afterId: label.optional().meta({ description: 'As the header Last-Event-ID, which has precedence' }),
});

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
});
const listenerName = z.enum(['https', 'websocket', 'quic', 'webtransport', 'admin']);
export const listenerInfo = z.object({
  name: listenerName,
  host: z.string(),
  port: z.int(),
  servedFingerprint: z.string(),
  detail: z.string().optional(),
});
export const certificates = z.object({
  certificates: z.array(certificateInfo),
  wantedFingerprint: z.string(),
  lastReload: z.string(),
  problem: z.string().optional(),
  listeners: z.array(
    listenerInfo.extend({
      address: z.string().meta({ description: 'host:port' }),
      servesWanted: z.boolean().meta({ description: 'True when new handshakes get the wanted bundle' }),
    }),
  ),
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
});

export const replicaList = z.object({ items: z.array(info), unanswered });

export const tokenBody = z
  .strictObject({
    node: nodeName.optional(),
    ttlMs: durationMs(2 ** 40, 'Lifetime, milliseconds; only with node').optional(),
    fleet: z.boolean().default(false).meta({ description: 'The fleet token, which enrols any node' }),
  })
  .refine(({ node, fleet }) => (node !== undefined) !== fleet, 'needs either node or fleet, not both')
  .refine(({ ttlMs, fleet }) => !(fleet && ttlMs !== undefined), 'cannot set ttlMs of the fleet token');
export const token = z.object({ token: z.string(), expiresAt: time });

const serial = z
  .string()
  .regex(/^[0-9a-fA-F: ]{1,60}$/, 'is not a serial number in hexadecimal')
  .refine((text) => /^[0-9a-f]{1,40}$/i.test(text.replace(/[: ]/g, '')), 'has not 1 to 20 octets')
  .meta({ description: 'Serial number, hexadecimal, colons allowed' });
const reason = z
  .enum(Object.keys(REVOCATION_REASONS) as [RevocationReason, ...RevocationReason[]])
  .meta({ description: 'Word of RFC 5280 section 5.3.1' });
const note = z
  .string()
  .max(200)
  .regex(/^\P{Cc}*$/u, 'holds control characters')
  .meta({ description: 'For people; edges are not told' });
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'is not a SHA-256 in lower-case hexadecimal');
const issuerSha256 = sha256.meta({
  description: 'Only a certificate of this CA (SHA-256 of its DER); without it the serial of any',
});
const oneTarget = ({ node, serial }: { node?: string | undefined; serial?: string | undefined }) =>
  (node !== undefined) !== (serial !== undefined);
export const revokeBody = z
  .strictObject({
    node: nodeName.optional(),
    serial: serial.optional(),
    issuerSha256: issuerSha256.optional(),
    reason: reason.default('unspecified'),
    note: note.optional(),
  })
  .refine(oneTarget, 'needs either node or serial');
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
  .refine(oneTarget, 'needs either node or serial');
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

export const failure = z.object({
  error: z.object({
    code: z
      .string()
      .meta({ description: `One of ${Object.keys(ERRORS).length} codes; docs/errors.md lists them` }),
    message: z.string(),
    fix: z.string().meta({ description: 'What to do about it' }),
    details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  }),
});
