import type { KeyExchange } from '../core/tls-groups.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { Message } from '../protocol/message.ts';
import type { DeliveryOutcome } from './message-bus.ts';
import type { UpstreamInfo } from './upstream-relay.ts';

/** Nodes with a session on this replica; the hub implements it. */
export interface LocalNodes {
  list(): readonly NodeInfo[];
  get(node: string): NodeInfo | undefined;
  /** @returns false when the node has no session here */
  disconnect(node: string, reason: CloseReason): boolean;
  /** As {@link NodeDirectory.send}. The bus finds the node wherever it is. */
  send(request: SendRequest): Promise<SendResult>;
}

/** What the admin listener can see and do about nodes, on whatever replica they are. */
export interface NodeDirectory {
  /** Never throws. What a replica did not tell is missing, and the replica is named. */
  list(signal?: AbortSignal): Promise<NodeListing>;
  /** @throws BUS_UNAVAILABLE, REPLICA_UNREACHABLE */
  get(node: string, signal?: AbortSignal): Promise<NodeInfo | undefined>;
  /** @returns false when the node has no session @throws BUS_UNAVAILABLE, REPLICA_UNREACHABLE */
  disconnect(node: string, reason: CloseReason, signal?: AbortSignal): Promise<boolean>;
  /**
   * Hands a message to the node's queue.
   * @param wait 'ack': resolves with the outcome, at the latest after `timeoutMs`; 'queued': resolves as soon
   * as it is queued
   * @throws NODE_OFFLINE (only with `wait: 'ack'`), QUEUE_FULL, MESSAGE_INVALID, NOT_ACKNOWLEDGED,
   * BUS_UNAVAILABLE
   */
  send(request: SendRequest): Promise<SendResult>;
}

export interface NodeListing {
  readonly items: readonly NodeInfo[];
  /** Replicas whose nodes are missing, and why. */
  readonly unanswered: readonly Unanswered[];
}

export interface Unanswered {
  readonly replica: string;
  readonly problem: string;
}

export interface SendRequest {
  readonly node: string;
  readonly message: Message;
  readonly wait: 'ack' | 'queued';
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export type SendResult = { readonly kind: 'queued' } | DeliveryOutcome;

/** One connected node (requirement L3). Times are ISO 8601. */
export interface NodeInfo {
  readonly node: string;
  readonly sessionId: string;
  readonly replica: string;
  readonly transport: TransportName;
  readonly remoteAddress: string;
  readonly agent?: string;
  readonly projectId: string;
  /** Absent over HTTP/3, whose library tells nothing of it. */
  readonly keyExchange?: KeyExchange;
  readonly connectedSince: string;
  readonly lastHeard: string;
  readonly certificate: {
    readonly serial: string;
    readonly sha256: string;
    readonly issuer: string;
    /** SHA-256 of the DER of the CA certificate it verified against, lower-case hexadecimal. */
    readonly issuerSha256: string;
    readonly notAfter: string;
  };
  readonly queued: number;
  readonly unacknowledged: number;
  readonly messagesReceived: number;
  readonly messagesSent: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** How long the session was held back because the node sent more than `hub.rate`; absent when never. */
  readonly heldBackMs?: number;
  readonly rttMs?: number;
  /** Its connection to the CloudCore behind the gateway, where there is one. */
  readonly upstream?: UpstreamInfo;
}
