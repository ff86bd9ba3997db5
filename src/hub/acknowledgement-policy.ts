import type { Message } from '../protocol/message.ts';

/**
 * Kinds of downstream messages that KubeEdge sends once, without waiting (`noAckRequired` in
 * `cloud/pkg/cloudhub/dispatcher/message_dispatcher.go`; docs/protocol.md lists them). A kind matches when
 * every part given here does. Everything else is sent until the edge acknowledges it.
 */
const SENT_ONCE: readonly {
  readonly what: string;
  readonly matches: (message: Message) => boolean;
}[] = [
  {
    what: 'answers that only say OK',
    matches: ({ route, body }) => route.operation === 'response' && body.is('OK'),
  },
  { what: 'answers of any content to what the edge asked', matches: ({ header }) => !!header.parent_msg_id },
  { what: 'user data (rules)', matches: ({ route }) => route.group === 'user' },
  { what: 'membership of devices', matches: ({ route }) => hasPart(route.resource, 'membership') },
  {
    what: 'device twins written by the cloud',
    matches: ({ route }) => ends(route.resource, 'twin/cloud_updated'),
  },
  { what: 'lists of pods', matches: ({ route }) => hasPart(route.resource, 'podlist') },
  { what: 'service account tokens', matches: ({ route }) => hasPart(route.resource, 'serviceaccounttoken') },
  { what: 'keepalives', matches: ({ route }) => route.operation === 'keepalive' },
];

/** Whether the edge is expected to acknowledge this downstream message. */
export function isAcknowledged(message: Message): boolean {
  return !SENT_ONCE.some((kind) => kind.matches(message));
}

function hasPart(resource: string | undefined, part: string): boolean {
  return resource?.split('/').includes(part) ?? false;
}

function ends(resource: string | undefined, end: string): boolean {
  return resource?.endsWith(end) ?? false;
}
