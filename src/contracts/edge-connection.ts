import type { KeyExchange } from '../core/tls-groups.ts';
import type { NodeIdentity } from '../identity/node-identity.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { Message } from '../protocol/message.ts';

/** One connection of one authenticated edge node. The hub never knows which library is behind it. */
export interface EdgeConnection {
  readonly transport: TransportName;
  readonly peer: NodeIdentity;
  readonly remoteAddress: string;
  /** KubeEdge's `project_id`, as the edge gave it. */
  readonly projectId: string;
  /** Name and version of the SDK, when the edge gave one. */
  readonly agent?: string;
  /** Of its TLS session; absent where the library of the transport tells nothing of it. */
  readonly keyExchange?: KeyExchange | undefined;
  /** Live figures; `rttMs` is undefined until measured. */
  stats(): ConnectionStats;
  /**
   * Sets who receives what the edge sends. It is called exactly once, in the same turn as
   * `EdgeAcceptor.accept`. While a promise of `onArrival`, or too many of `onMessage`, are pending, the
   * connection stops reading (back-pressure).
   */
  receive(handler: EdgeConnectionHandler): void;
  /**
   * Resolves when the transport can take more. Rejects with SESSION_CLOSED, or when the write deadline has
   * passed.
   */
  send(message: Message): Promise<void>;
  /**
   * Sends a message that is JSON in UTF-8 already, byte for byte; absent where messages have another form on
   * the wire. A promise means: the transport takes no more until it settles. It rejects as {@link send} does.
   */
  sendJson?(bytes: Uint8Array): void | Promise<void>;
  /**
   * Asks the peer for a sign of life, and resolves when it comes; never when the peer is gone. Absent where
   * the transport cannot ask.
   */
  whenThere?(): Promise<void>;
  close(reason: CloseReason): void;
}

export interface EdgeConnectionHandler {
  /**
   * Asked once for each message, before anybody looks into it. A promise holds it back: the node has sent
   * what it may for now. It never rejects.
   */
  onArrival(bytes: number): undefined | Promise<void>;
  onMessage(message: Message, bytes: number): void | Promise<void>;
  /** Any sign of life that is no message: ping, pong, keepalive frame. */
  onAlive(): void;
  /** Called exactly once, whoever ended the connection. `reason` is undefined when the peer just vanished. */
  onClose(reason: CloseReason | undefined): void;
}

export interface ConnectionStats {
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Bytes that the transport was given and that the network has not taken yet. */
  readonly bytesBuffered: number;
  readonly rttMs?: number;
}

/** What listeners need of the hub. */
export interface EdgeAcceptor {
  /**
   * Says whether this node may have a session now. It is asked after authentication, and before anything is
   * upgraded or read.
   */
  admit(peer: NodeIdentity, transport: TransportName): Admission;
  /**
   * The connection becomes the session of its node, or takes it over. Calls `connection.receive` or
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
