/**
 * One KubeEdge message, in the very shape it has on the wire (KubeEdge `beehive/pkg/core/model/message.go`):
 * no mapping, no cost, nothing lost. Optional fields are omitted when empty, as Go's `omitempty` does.
 */
export interface Message {
  readonly header: MessageHeader;
  readonly route: MessageRoute;
  /** Any JSON value. */
  readonly content: unknown;
}

export interface MessageHeader {
  /** UUID of this message. */
  readonly msg_id: string;
  /** The message this one answers. */
  readonly parent_msg_id?: string;
  /** Milliseconds since the epoch, an integer. */
  readonly timestamp: number;
  /** Version of the object in `content`, as Kubernetes writes it. */
  readonly resourceversion?: string;
  /** The sender waits for an answer. */
  readonly sync?: boolean;
  readonly type?: string;
}

export interface MessageRoute {
  readonly source?: string;
  readonly destination?: string;
  readonly group?: string;
  readonly operation?: string;
  readonly resource?: string;
}

/** Builds a message, with a fresh id unless one is given. @param now milliseconds since the epoch */
export function createMessage(
  route: MessageRoute,
  content: unknown,
  {
    now,
    id = crypto.randomUUID(),
    parentId,
    resourceVersion,
    sync,
  }: { now: number; id?: string; parentId?: string; resourceVersion?: string; sync?: boolean },
): Message {
  return {
    header: {
      msg_id: id,
      ...(parentId ? { parent_msg_id: parentId } : {}),
      timestamp: now,
      ...(resourceVersion ? { resourceversion: resourceVersion } : {}),
      ...(sync ? { sync } : {}),
    },
    route,
    content,
  };
}

/** The answer to `message`: same route, operation `response` or `error` (KubeEdge `NewRespByMessage`). */
export function createResponse(
  message: Message,
  content: unknown,
  { now, operation = 'response' }: { now: number; operation?: 'response' | 'error' },
): Message {
  return createMessage({ ...message.route, operation }, content, { now, parentId: message.header.msg_id });
}
