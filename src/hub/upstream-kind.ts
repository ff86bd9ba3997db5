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

/**
 * Whether the sender waits for the hub's own word that the message was taken. An unmodified EdgeCore also
 * sets `sync` on questions whose answer is the cloud program's (`query`, and `patch`, which returns the
 * patched object): an OK of ours would be mistaken for it. It is known by Go's own agent, which
 * `http.Request.Write` adds for its WebSocket library, or by none.
 */
export function wantsReceipt({ header, route }: Message, agent: string | undefined): boolean {
  if (header.sync !== true) return false;
  const isEdgeCore = agent === undefined || agent.startsWith('Go-http-client/');
  return !isEdgeCore || (route.operation !== 'query' && route.operation !== 'patch');
}
