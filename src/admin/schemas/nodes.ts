import * as z from '../../core/zod.ts';
import { TRANSPORTS } from '../../protocol/listener-names.ts';
import { count, inQuery, label, listenerName, nodeName, time, unanswered } from './shared.ts';

export const nodeInfo = z.object({
  node: z.string(),
  sessionId: z.string(),
  replica: z.string(),
  transport: z.enum(TRANSPORTS),
  remoteAddress: z.string(),
  agent: z.string().optional(),
  projectId: z.string(),
  keyExchange: z.object({ group: z.string(), postQuantum: z.boolean() }).optional().meta({
    description:
      'Key exchange of its TLS session; over QUIC the group is `unknown`, and never post-quantum; absent over HTTP/3',
  }),
  connectedSince: time,
  lastHeard: time,
  certificate: z.object({
    serial: z.string(),
    sha256: z.string(),
    issuer: z.string(),
    issuerSha256: z
      .string()
      .meta({ description: 'SHA-256 of the DER of the CA certificate it verified against' }),
    notAfter: time,
  }),
  queued: count,
  unacknowledged: count,
  messagesReceived: count,
  messagesSent: count,
  bytesReceived: count,
  bytesSent: count,
  heldBackMs: count.optional(),
  rttMs: z.number().optional(),
  upstream: z
    .object({
      address: z.string().optional(),
      state: z.enum(['connecting', 'open', 'waiting']),
      since: z.string(),
      reconnects: count,
      questions: count,
      watches: count,
      held: count,
    })
    .optional()
    .meta({ description: 'Connection of the node to the CloudCore behind the gateway, where there is one' }),
});
export const nodeList = z.object({ items: z.array(nodeInfo), unanswered });

const knownCertificate = z.object({
  serial: z.string(),
  issuerSha256: z.string(),
  notBefore: time,
  notAfter: time,
});
const forgottenNodes = z.object({ nodes: count, since: time, until: time }).optional().meta({
  description: 'Nodes that had to be forgotten and may still come back; missing when there is none',
});
export const nodeRecordList = z.object({
  forgotten: forgottenNodes,
  items: z.array(
    z.object({
      node: z.string(),
      certificate: knownCertificate,
      issued: knownCertificate
        .optional()
        .meta({ description: 'A certificate issued since its last connection, not seen yet' }),
      firstSeen: time,
      joinedAt: time.optional().meta({ description: 'When it last joined with a token' }),
      lastSeen: time.optional(),
      connectedHere: z.boolean(),
      transport: z.enum(TRANSPORTS).optional(),
      replica: z.string().optional(),
      absences: z.array(z.object({ from: time, to: time })),
    }),
  ),
});
export const nodeForecastList = z.object({
  forgotten: forgottenNodes,
  items: z.array(
    z.object({
      node: z.string(),
      certificate: knownCertificate,
      lastSeen: time.optional(),
      connectedHere: z.boolean(),
      usualGapMs: count.optional().meta({ description: 'Longest of its absences, milliseconds' }),
      nextContactBy: time.optional(),
      overdue: z.boolean(),
      renewableUntil: time,
      verdict: z.enum(['ok', 'renewable', 'at-risk', 'expired', 'revoked']),
    }),
  ),
});
export const rejectionQuery = z.strictObject({
  node: nodeName.optional(),
  reason: label.optional().meta({ description: 'Word of docs/errors.md, section rejection reasons' }),
  limit: inQuery(z.number().int().min(1).max(100_000)).default(11_000).meta({
    description: 'How many at most; by default as many as one replica remembers',
  }),
});
export const rejection = z.object({
  replica: z.string().meta({ description: 'The replica that refused' }),
  node: z.string().optional().meta({ description: 'The node, where a trusted CA vouches for the name' }),
  claimedNode: z
    .string()
    .optional()
    .meta({ description: 'What the peer claims to be: anybody may have written it' }),
  reason: z.string().meta({ description: 'Word of docs/errors.md, section rejection reasons' }),
  listener: listenerName,
  remoteAddress: z.string(),
  count: count.meta({ description: 'Attempts since firstAt' }),
  firstAt: time,
  lastAt: time,
  detail: z.string().meta({ description: 'As the edge was told' }),
  fix: z.string().meta({ description: 'What to do about it' }),
  facts: z
    .object({
      hubTime: time.optional(),
      notBefore: time.optional(),
      notAfter: time.optional(),
      serial: z.string().optional(),
      presentedIssuer: z.string().optional(),
      presentedIssuerSha256: z.string().optional(),
      expectedIssuersSha256: z.array(z.string()).optional(),
    })
    .optional(),
});
export const rejectionList = z.object({ items: z.array(rejection), unanswered });
