import { Content } from './content.ts';

/**
 * One KubeEdge message (KubeEdge `beehive/pkg/core/model/message.go`): header and route as they are on the
 * wire, and a content that stays bytes until somebody asks for it.
 */
export class Message {
  readonly header: MessageHeader;
  readonly route: MessageRoute;
  /** The content as it came. Pass it to {@link createMessage} to hand it on byte for byte. */
  readonly body: Content;
  /** The whole JSON frame, when the message came in one. */
  readonly frame: Buffer | undefined;

  constructor(header: MessageHeader, route: MessageRoute, body: Content, frame?: Buffer) {
    this.header = header;
    this.route = route;
    this.body = body;
    this.frame = frame;
  }

  /**
   * Any JSON value, parsed at the first look. Integers beyond 2^53 lose digits, as with every `JSON.parse`;
   * {@link contentBytes} has them all.
   */
  get content(): unknown {
    return this.body.value;
  }

  /** The content as JSON in UTF-8, byte for byte as it was sent. Not to be changed. */
  get contentBytes(): Uint8Array {
    return this.body.bytes;
  }

  /** Bytes of memory the message holds, about: content, and what stands for header, route and objects. */
  get heldBytes(): number {
    return Math.max(this.body.heldBytes, this.frame?.length ?? 0) + OWN_BYTES;
  }

  withRoute(route: MessageRoute): Message {
    return new Message(this.header, route, this.body);
  }

  withHeader(header: MessageHeader): Message {
    return new Message(header, this.route, this.body);
  }

  toJSON(): object {
    return { header: this.header, route: this.route, content: this.body };
  }
}

/** Header, route and the objects, measured on a decoded message of EdgeCore's kind: 550 bytes (Node 24). */
const OWN_BYTES = 600;

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

/**
 * Builds a message, with a fresh id unless one is given.
 * @param content any JSON value, or a {@link Content} that goes on byte for byte
 * @param now milliseconds since the epoch
 * @throws MESSAGE_INVALID for content that JSON cannot express
 */
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
  const header = {
    msg_id: id,
    ...(parentId ? { parent_msg_id: parentId } : {}),
    timestamp: now,
    ...(resourceVersion ? { resourceversion: resourceVersion } : {}),
    ...(sync ? { sync } : {}),
  };
  return new Message(header, route, Content.of(content));
}

/** The answer to `message`: same route, operation `response` or `error` (KubeEdge `NewRespByMessage`). */
export function createResponse(
  message: Message,
  content: unknown,
  { now, operation = 'response' }: { now: number; operation?: 'response' | 'error' },
): Message {
  return createMessage({ ...message.route, operation }, content, { now, parentId: message.header.msg_id });
}
