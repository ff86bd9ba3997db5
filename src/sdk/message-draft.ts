import { createMessage, type Message } from '../protocol/message.ts';

/** What a program wants to say, without what the SDK fills in. */
export interface MessageDraft {
  /** What it is about, e.g. `default/podstatus/p-1`; the hub puts `node/<node>/` before it. */
  readonly resource: string;
  /** `insert`, `update`, `delete`, `get`, or a word of your own. */
  readonly operation: string;
  /** Any JSON value; a message's `body` goes on byte for byte. */
  readonly content?: unknown;
  /** Default `resource`. */
  readonly group?: string;
  /** Default `edge`. The hub refuses sources that belong to the cloud. */
  readonly source?: string;
  readonly destination?: string;
  readonly resourceVersion?: string;
  readonly parentId?: string;
}

/**
 * The whole message. One that is whole already keeps its id, so that the same id can be sent again on
 * purpose.
 */
export function messageOf(
  message: Message | MessageDraft,
  { now, sync }: { now: number; sync: boolean },
): Message {
  if ('header' in message) {
    const { sync: _, ...header } = message.header;
    return message.withHeader(sync ? { ...header, sync } : header);
  }
  const { resource, operation, content = null, group = 'resource', source = 'edge', destination } = message;
  const { parentId, resourceVersion } = message;
  return createMessage(
    { source, ...(destination ? { destination } : {}), group, operation, resource },
    content,
    {
      now,
      sync,
      ...(parentId ? { parentId } : {}),
      ...(resourceVersion ? { resourceVersion } : {}),
    },
  );
}
