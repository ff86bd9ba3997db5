import type { DownstreamItem } from '../contracts/message-bus.ts';

/**
 * The object a downstream message speaks about: messages with an equal key replace each other in a queue.
 * Undefined for what stands by itself: kinds that are not acknowledged (user data) and answers to one
 * particular message. KubeEdge splits its queues the same way (`cloud/pkg/cloudhub/common/message_queue.go`).
 */
export function objectKey({ message, acknowledged }: DownstreamItem): string | undefined {
  const { source = '', group = '', resource = '' } = message.route;
  if (!acknowledged || message.header.parent_msg_id || resource === '') return undefined;
  return `${source}\n${group}\n${resource}`;
}

/**
 * True when `candidate` is an older version than `present`. Versions that are no integers cannot be compared:
 * the later arrival is the newer.
 */
export function isOlderVersion(candidate: DownstreamItem, present: DownstreamItem): boolean {
  const [a, b] = [
    version(candidate.message.header.resourceversion),
    version(present.message.header.resourceversion),
  ];
  return a !== undefined && b !== undefined && a < b;
}

function version(text: string | undefined): bigint | undefined {
  return text !== undefined && /^\d{1,256}$/.test(text) ? BigInt(text) : undefined;
}
