import { hash } from 'node:crypto';
import { headers, type MsgHdrs } from '@nats-io/transport-node';
import type {
  DeliveryOutcome,
  DownstreamItem,
  MessageOf,
  SentMessage,
  UpstreamEvent,
} from '../../contracts/message-bus.ts';
import { SallyportError } from '../../core/errors.ts';
import { checkMessage, decodeJson, encodeJson } from '../../protocol/codec-json.ts';
import { readMembers } from '../../protocol/content.ts';
import type { Message } from '../../protocol/message.ts';
import { objectKey } from '../object-key.ts';
import type { Subjects } from './subjects.ts';

/** Headers of messages in NATS, part of the interface in docs/protocol.md. */
export const HEADER = {
  /** JetStream takes a message of one id once within its window. */
  id: 'Nats-Msg-Id',
  session: 'Sallyport-Session',
  /**
   * `true` or `false`: whether the edge is expected to acknowledge. Without it, as KubeEdge does with
   * messages of this kind.
   */
  acknowledged: 'Sallyport-Acknowledged',
  /** Milliseconds since the epoch. */
  expiresAt: 'Sallyport-Expires-At',
  /** Where the outcome is sent, as JSON; below `_INBOX.` or `<prefix>.outcome.`. */
  outcomeTo: 'Sallyport-Outcome-To',
  /**
   * Digest of the object the message speaks about, so that older versions can be found without reading
   * messages.
   */
  object: 'Sallyport-Object',
  /** Internal, on `live` only: asks whether the node is held. */
  ask: 'Sallyport-Ask',
} as const;

export interface Encoded {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly headers: MsgHdrs;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeEvent(subjects: Subjects, event: UpstreamEvent): Encoded {
  const { node, sessionId } = event;
  const sent = headers();
  sent.set(HEADER.session, plain(sessionId));
  if (event.type === 'message') {
    sent.set(HEADER.id, messageId(node, event.message));
    return {
      subject: subjects.up(node, event.message.route),
      payload: encodeMessage(event.message),
      headers: sent,
    };
  }
  const { type, transport, at, epoch } = event;
  sent.set(HEADER.id, `${node}:${type}:${plain(sessionId)}:${epoch ?? 0}`);
  // The first three fields are those of CloudCore's own event.
  const body = {
    event_type: type,
    timestamp: Math.floor(at / 1_000),
    client_id: node,
    at,
    session: sessionId,
    transport,
    ...(epoch === undefined ? {} : { epoch }),
    ...(event.type === 'disconnected' ? { reason: event.reason } : {}),
  };
  return { subject: subjects.presence(node), payload: encoder.encode(JSON.stringify(body)), headers: sent };
}

/** @returns undefined for what no hub wrote: anybody with the right may publish to these subjects */
export function decodeEvent(
  subjects: Subjects,
  { subject, data, headers: received }: Received,
): UpstreamEvent | undefined {
  const node = subjects.nodeOf(subject);
  if (node === undefined) return undefined;
  try {
    if (subject.startsWith(`${subjects.prefix}.up.`)) {
      const sessionId = received?.get(HEADER.session) ?? '';
      const message = decodeJson(data);
      return { type: 'message', direction: 'upstream', node, sessionId, message, bytes: data.length };
    }
    const {
      event_type: type,
      session: sessionId,
      transport,
      at,
      epoch,
      reason = '',
    } = JSON.parse(decoder.decode(data));
    if (typeof sessionId !== 'string' || typeof at !== 'number') return undefined;
    const common = { node, sessionId, transport, at, ...(typeof epoch === 'number' ? { epoch } : {}) };
    if (type === 'connected') return { type, ...common };
    return type === 'disconnected' ? { type, ...common, reason } : undefined;
  } catch {
    return undefined;
  }
}

export function encodeSent(subjects: Subjects, { node, sessionId, message }: SentMessage): Encoded {
  const sent = headers();
  sent.set(HEADER.session, plain(sessionId));
  return { subject: subjects.sent(node), payload: encodeJson(message), headers: sent };
}

/** @returns undefined for what no hub wrote */
export function decodeSent(
  subjects: Subjects,
  { subject, data, headers: received }: Received,
): MessageOf<'downstream'> | undefined {
  const node = subjects.nodeOf(subject);
  if (node === undefined) return undefined;
  const sessionId = received?.get(HEADER.session) ?? '';
  try {
    const message = decodeJson(data);
    return { type: 'message', direction: 'downstream', node, sessionId, message, bytes: data.length };
  } catch {
    return undefined;
  }
}

/** @throws MESSAGE_INVALID */
export function encodeItem(
  subjects: Subjects,
  item: DownstreamItem,
  { outcomeTo }: { readonly outcomeTo?: string } = {},
): Encoded {
  const { node, message, acknowledged, expiresAt } = item;
  const sent = headers();
  sent.set(HEADER.id, messageId(node, message));
  sent.set(HEADER.acknowledged, String(acknowledged));
  if (expiresAt !== undefined) sent.set(HEADER.expiresAt, String(expiresAt));
  if (outcomeTo !== undefined) sent.set(HEADER.outcomeTo, outcomeTo);
  const object = objectDigest(item);
  if (object !== undefined) sent.set(HEADER.object, object);
  return { subject: subjects.down(node), payload: encodeMessage(message), headers: sent };
}

/** A message as it is stored for a node. @throws MESSAGE_INVALID */
export function decodeItem(
  node: string,
  { data, headers: received }: Omit<Received, 'subject'>,
  isAcknowledged: (message: Message) => boolean,
): DownstreamItem {
  const message = decodeJson(data);
  const addressee = /^node\/([^/]+)\//.exec(message.route.resource ?? '')?.[1];
  if (addressee !== undefined && addressee !== node)
    throw new SallyportError('MESSAGE_INVALID', { problem: 'route.resource names another node' });
  const acknowledged = received?.get(HEADER.acknowledged);
  const expiresAt = Number(received?.get(HEADER.expiresAt) || Number.NaN);
  return {
    node,
    message,
    acknowledged: acknowledged ? acknowledged === 'true' : isAcknowledged(message),
    ...(Number.isFinite(expiresAt) ? { expiresAt } : {}),
  };
}

/** What another replica tells of a message; the edge's answer stays as it came. @throws MESSAGE_INVALID */
export function decodeOutcome(data: Uint8Array): DeliveryOutcome {
  const outcome = readMembers(data).outcome?.bytes ?? new Uint8Array();
  const members = readMembers(outcome);
  const kind = members.kind?.value;
  const reason = members.reason?.value;
  if (typeof kind !== 'string')
    throw new SallyportError('MESSAGE_INVALID', { problem: 'the outcome has no kind' });
  return {
    kind,
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(members.response ? { response: decodeJson(members.response.bytes) } : {}),
  } as DeliveryOutcome;
}

export interface Received {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers?: MsgHdrs | undefined;
}

/** Equal for messages about one object; short, and fit for a header. */
export function objectDigest(item: DownstreamItem): string | undefined {
  const key = objectKey(item);
  return key === undefined ? undefined : hash('sha256', key, 'base64url').slice(0, 22);
}

function encodeMessage(message: Message): Uint8Array {
  checkMessage(message);
  return encodeJson(message);
}

function messageId(node: string, { header }: Message): string {
  return `${node}:${plain(header.msg_id)}`;
}

/** An id fit for a header: what is not visible ASCII is told by its digest. */
function plain(id: string): string {
  return /^[\x21-\x7e]+$/.test(id) ? id : hash('sha256', id, 'base64url');
}
