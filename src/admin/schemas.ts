import { ERRORS } from '../core/error-table.ts';
import type { ErrorCode } from '../core/errors.ts';
import * as z from '../core/zod.ts';
import { REVOCATION_REASONS, type RevocationReason } from '../identity/revocation-reasons.ts';
import { TOKEN_LIFETIME_MS } from '../identity/token-lifetime.ts';
import { LISTENER_NAMES, TRANSPORTS } from '../protocol/listener-names.ts';
import { NODE_NAME } from '../protocol/node-name.ts';

/** Shapes of the admin API: requests are checked with them, and the OpenAPI document is made of them. */

const nodeName = z
  .string()
  .max(253)
  .regex(NODE_NAME, 'is not a node name')
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
  id: z
    .string()
    .regex(/^[\w.:-]{1,128}$/, 'is not an id: 1 to 128 of letters, digits and _ . : -')
    .optional()
    .meta({
      description:
        'Id of the message, best a UUID: within the window of the bus the same id is taken once a node, so a call without an answer may be repeated. Without it a fresh one',
    }),
  parent_msg_id: z.string().min(1).max(256).optional().meta({
    description:
      'Id (`header.msg_id`) of the message of the node that this one answers; it is then sent once, without an acknowledgement',
  }),
  resource: z.string().min(1).max(4096).meta({
    description: 'Resource, for example default/configmap/demo; a prefix node/<node>/ is understood',
  }),
  operation: label.meta({ description: 'insert, update, delete, query, response, …' }),
  content: z.unknown().optional().meta({ description: 'Any JSON value; without it null' }),
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
export const batchBody = z.strictObject({
  items: z
    .array(sendBody.extend({ node: nodeName }))
    .min(1)
    .max(1_000)
    .meta({ description: 'Messages; those to one node are sent in this order' }),
});
export const queued = z.object({ kind: z.literal('queued'), msgId: z.string() });
export const outcome = z.object({
  kind: z.enum(['acknowledged', 'sent', 'rejected', 'unacknowledged', 'superseded', 'expired', 'dropped']),
  msgId: z.string(),
  response: message.optional(),
  reason: z.string().optional(),
});

/** A whole number as it stands in a query: digits, and nothing else that JavaScript takes for a number. */
const inQuery = (schema: z.ZodType<number, number>) =>
  z.preprocess((text) => (/^\d{1,15}$/.test(String(text)) ? Number(text) : text), schema);

const oneOrMany = <T extends z.ZodType>(one: T) =>
  z.union([one.transform((value) => [value]), z.array(one).max(8)]);
export const eventTypes = z.enum(['message', 'connected', 'disconnected']);
const directions = z.enum(['upstream', 'downstream']);
export const eventQuery = z.strictObject({
  node: nodeName.optional(),
  type: oneOrMany(eventTypes).optional().meta({ description: 'Kinds of event; repeat it for several' }),
  direction: oneOrMany(directions).optional().meta({
    description:
      'Of messages: upstream is what nodes send, downstream what is sent to them, for operators alone; repeat it for both. Without it, upstream',
  }),
  group: label.optional(),
  source: label.optional(),
  operation: label.optional(),
  resourcePrefix: z.string().min(1).max(4096).optional(),
  afterId: label.optional().meta({ description: 'As the header Last-Event-ID, which has precedence' }),
});

const sessionEvent = { node: z.string(), sessionId: z.string() };
const cameOrWent = {
  transport: z.enum(TRANSPORTS),
  at: z.number().meta({ description: 'Milliseconds since 1970' }),
  epoch: count.optional().meta({ description: 'Grows with each session of the node, on whatever replica' }),
};
export const hubEvent = z.discriminatedUnion('type', [
  z
    .object({
      type: z.literal('message'),
      direction: directions,
      ...sessionEvent,
      message,
      bytes: count.meta({ description: 'Upstream of the frame as it came, else of the message as JSON' }),
    })
    .meta({ description: 'A message that a node sent, or that was sent to it; the latter has no id' }),
  z.object({ type: z.literal('connected'), ...sessionEvent, ...cameOrWent }),
  z.object({ type: z.literal('disconnected'), ...sessionEvent, ...cameOrWent, reason: z.string() }),
  z
    .object({
      type: z.literal('missed'),
      count: count.optional().meta({
        description:
          'How many events of all nodes and kinds, those of another filter too; absent where nobody knows',
      }),
      direction: z.literal('downstream').optional().meta({
        description: 'Only what was sent to nodes may be missing: it is not kept',
      }),
    })
    .meta({
      description:
        'Events before the next one are not kept any more, or the Last-Event-ID is of another gateway. It comes whatever the filter, without an id',
    }),
]);

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
const listenerName = z.enum(LISTENER_NAMES);
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

const error = z.object({
  code: z
    .enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]])
    .meta({ description: 'docs/errors.md lists them' }),
  message: z.string(),
  fix: z.string().meta({ description: 'What to do about it' }),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
});
export const failure = z.object({ error });
export const batchAnswer = z.object({
  items: z
    .array(
      z.union([
        queued.extend({ node: z.string() }),
        outcome.extend({ node: z.string() }),
        z.object({ kind: z.literal('failed'), node: z.string(), msgId: z.string(), error }),
      ]),
    )
    .meta({ description: 'What became of each message, in the order of the request' }),
});
