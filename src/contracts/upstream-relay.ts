import type { Message, MessageHeader, MessageRoute } from '../protocol/message.ts';
import type { TunnelEnd } from '../protocol/tunnel-end.ts';

/** One message of the system behind the gateway, still in the bytes it came in. */
export interface UpstreamFrame {
  readonly header: MessageHeader;
  readonly route: MessageRoute;
  /** JSON, UTF-8, exactly as it came. */
  readonly bytes: Uint8Array;
  /** Parsed whole, for transports with another form. */
  message(): Message;
}

/** The edge's end of a relayed session, as the relay sees it. */
export interface RelayedEdge {
  readonly node: string;
  readonly projectId: string;
  /**
   * Hands a message to the edge. A promise means: the edge takes nothing more until it settles; it never
   * rejects.
   */
  fromUpstream(frame: UpstreamFrame): void | Promise<void>;
}

/** A node's connection to the system behind the gateway. It outlives any loss on that side. */
export interface UpstreamLink {
  /**
   * Takes a message of the edge: sends it now, or keeps it in the bounded books of the node. Never throws,
   * never rejects; a promise means: read no further than a bounded number ahead of it.
   * @param json the message as it came, where it came as JSON: it is passed on untouched
   */
  take(message: Message, json: Buffer | undefined): void | Promise<void>;
  /** The edge's keepalive: passed on while there is somebody to hear it. */
  keepalive(message: Message, json: Buffer | undefined): void;
  /** The node has a new connection: what comes from now on goes there. The connection behind stays. */
  rebind(edge: RelayedEdge): void;
  info(): UpstreamInfo;
  /** The edge is gone. Idempotent. */
  close(): void;
}

/** What an operator may see of it. */
export interface UpstreamInfo {
  /** `host:port` of the CloudCore; undefined while there is none. */
  readonly address?: string;
  readonly state: 'connecting' | 'open' | 'waiting';
  /** Since when it is in this state; ISO 8601. */
  readonly since: string;
  readonly reconnects: number;
  /** Questions without an answer, open watches, and messages that wait. */
  readonly questions: number;
  readonly watches: number;
  readonly held: number;
}

/** Opens, for each node with a session, its connection to the system behind the gateway. */
export interface UpstreamRelay {
  open(edge: RelayedEdge): UpstreamLink;
}

/** A CA that upstream certificates may come from; it is also what CloudCore's own certificate comes from. */
export interface UpstreamAuthority {
  readonly certificate: { readonly der: Uint8Array; readonly sha256: string };
  /** @param publicKey SPKI, DER @returns the certificate, DER */
  issueNode(request: { node: string; publicKey: Uint8Array; lifetimeMs: number }): Promise<Uint8Array>;
}

/** Opens the tunnel of a node to the CloudCore that has its messages. */
export interface TunnelDialer {
  /** @throws UPSTREAM_UNAVAILABLE, UPSTREAM_UNTRUSTED, UPSTREAM_REFUSED */
  dialTunnel(request: {
    readonly node: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
  }): Promise<TunnelEnd>;
}
