import type { Message } from '../protocol/message.ts';
import type { TunnelEnd } from '../protocol/tunnel-end.ts';

/** The edge's end of a relayed session, as the relay sees it. */
export interface RelayedEdge {
  readonly node: string;
  readonly projectId: string;
  /** Settles when it is known whether the node is this gateway's; undefined once it is. */
  readonly whenPlaced: Promise<void> | undefined;
  /** Settles when the edge has shown that it is still there; never when it is gone. */
  whenThere(): Promise<void>;
  /**
   * Hands a JSON frame to the edge, as it came. A promise means: the edge takes nothing more until it
   * settles; it never rejects.
   */
  fromUpstream(frame: Buffer): void | Promise<void>;
}

/** A node's connection to the system behind the gateway. It outlives any loss on that side. */
export interface UpstreamLink {
  /**
   * Takes a message of the edge, byte for byte where it came as JSON: sends it now, or keeps it in the
   * bounded books of the node. Never throws, never rejects; a promise means: read no further than a bounded
   * number ahead of it.
   */
  take(message: Message): void | Promise<void>;
  /** The edge's keepalive: passed on while there is somebody to hear it. */
  keepalive(message: Message): void;
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
  /** Since when it is open, or since when it is not, however often it was tried; ISO 8601. */
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

/** A request that a node makes of CloudCore over HTTPS. */
export interface UpstreamRequest {
  readonly node: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** JSON. */
  readonly body?: Uint8Array;
  readonly signal: AbortSignal;
}

export interface UpstreamAnswer {
  readonly status: number;
  readonly body: Buffer;
}

/** Asks the CloudCore that has the messages of a node, in its name. */
export interface UpstreamAsker {
  /** @throws UPSTREAM_UNAVAILABLE, UPSTREAM_UNTRUSTED */
  ask(request: UpstreamRequest): Promise<UpstreamAnswer>;
}
