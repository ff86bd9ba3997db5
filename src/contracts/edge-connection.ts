import type { NodeIdentity } from '../identity/node-identity.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { Message } from '../protocol/message.ts';

export type Transport = TransportName;

/** One connection of one authenticated edge node. The hub never knows which library is behind it. */
export interface EdgeConnection {
  readonly id: string;
  readonly transport: Transport;
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  /** KubeEdge's `project_id`, as the edge gave it. */
  readonly projectId: string;
  /** Name and version of the SDK, when the edge gave one. */
  readonly agent?: string;
  /** Live figures; `rttMs` is undefined until measured. */
  stats(): ConnectionStats;
  /**
   * Sets who receives what the edge sends; called exactly once, in the same turn as `EdgeAcceptor.accept`.
   * `onMessage` may return a promise: while too many of them are pending, the connection stops reading
   * (back-pressure).
   */
  receive(handler: EdgeConnectionHandler): void;
  /** Resolves when the transport can take more. Rejects SESSION_CLOSED, or when the write deadline passed. */
  send(message: Message): Promise<void>;
  /**
   * Sends a message that is JSON in UTF-8 already, byte for byte; absent where messages have another form on
   * the wire. A promise means: the transport takes no more until it settles. It rejects as {@link send} does.
   */
  sendJson?(bytes: Uint8Array): void | Promise<void>;
  close(reason: CloseReason): void;
}

export interface EdgeConnectionHandler {
  /** @param json the message as it came, where it came as JSON */
  onMessage(message: Message, bytes: number, json?: Buffer): void | Promise<void>;
  /** Any sign of life that is no message: ping, pong, keepalive frame. */
  onAlive(): void;
  /** Exactly once, whoever ended it. `reason` is undefined when the peer just vanished. */
  onClose(reason: CloseReason | undefined): void;
}

export interface ConnectionStats {
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Bytes handed to the transport and not yet taken by the network. */
  readonly bytesBuffered: number;
  readonly rttMs?: number;
}

/** What listeners need of the hub. */
export interface EdgeAcceptor {
  /** Asked after authentication and before anything is upgraded or read: may this node have a session now? */
  admit(peer: NodeIdentity, transport: Transport): Admission;
  /**
   * The connection becomes (or takes over) the session of its node. Calls `connection.receive` or
   * `connection.close`.
   */
  accept(connection: EdgeConnection): void;
}

export type Admission =
  | { readonly ok: true }
  | {
      readonly ok: false;
      readonly status: 403 | 429 | 503;
      readonly close: CloseReason;
      readonly detail: string;
      readonly retryAfterMs?: number;
    };
