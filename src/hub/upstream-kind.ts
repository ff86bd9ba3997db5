import type { Message } from '../protocol/message.ts';

/** What the hub does with a message of an edge: the first four never leave it. */
export type UpstreamKind = 'keepalive' | 'control' | 'answer' | 'data';

const CONTROL = new Set(['config', 'ping', 'pong']);

/** Sorts as CloudCore does (`cloud/pkg/cloudhub/dispatcher/message_dispatcher.go`, DispatchUpstream). */
export function upstreamKind({ header, route }: Message): UpstreamKind {
  const { operation = '' } = route;
  if (operation === 'keepalive' && route.group === 'resource' && route.resource === 'node')
    return 'keepalive';
  if ((operation === 'response' || operation === 'error') && header.parent_msg_id) return 'answer';
  return CONTROL.has(operation) ? 'control' : 'data';
}
