import * as z from '../../core/zod.ts';
import { TRANSPORTS } from '../../protocol/listener-names.ts';
import { count, error, label, nodeName } from './shared.ts';

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
  timeoutMs: z
    .int()
    .min(1)
    .max(600_000)
    .meta({ description: 'Longest wait for the outcome, milliseconds' })
    .optional(),
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
