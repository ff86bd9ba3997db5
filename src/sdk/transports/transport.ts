import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { type CloseReason, type CloseReasonName, closeReason } from '../../protocol/close-reasons.ts';
import type { TransportName } from '../../protocol/listener-names.ts';
import type { Message } from '../../protocol/message.ts';
import { closeOfRefusal } from '../../protocol/rejection-reasons.ts';

/** What an edge shows to the hub, and what it believes: everything a mutual-TLS handshake needs. */
export interface EdgeCredentials {
  readonly node: string;
  /**
   * PEM of the CA the node joined with, behind the new one during a rollover. Nothing else is trusted, the
   * system's CAs neither.
   */
  readonly ca: string;
  /** PEM of the node's certificate, with its chain when there is one. */
  readonly certificate: string;
  /** PKCS#8 PEM. Never to be logged. */
  readonly key: string;
}

export interface ConnectOptions {
  /** KubeEdge's `project_id`. */
  readonly projectId: string;
  /** Name and version of the SDK, told to the hub. */
  readonly agent: string;
  /** Largest message in either direction, bytes; a larger one ends the connection with `MessageTooLarge`. */
  readonly maxMessageBytes: number;
  /** From the first packet to a connection that can carry messages. */
  readonly connectTimeoutMs: number;
  /** Time in which the hub must take what is written to it; then the link ends. */
  readonly writeTimeoutMs: number;
  /** Ends the attempt; it does not end a link that exists. */
  readonly signal: AbortSignal;
}

/**
 * What every transport is built from. Each adds the address it connects to in an options object of its own.
 */
export interface TransportComponents {
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Makes links to one hub over one wire protocol. Holds nothing between two calls of `connect` but what it
 * learned.
 */
export interface EdgeTransport {
  readonly name: TransportName | 'auto';
  /**
   * Connects with mutual TLS, TLS 1.2 at least: verifies the hub against `credentials.ca` alone, its name or
   * address included.
   * @throws CONNECT_REFUSED when the hub answered and said no ({@link refusalOf} tells what to do next);
   * CONNECT_FAILED for everything else (network, TLS, time-out); the signal's reason when it was aborted
   */
  connect(credentials: EdgeCredentials, options: ConnectOptions): Promise<EdgeLink>;
  /** Present where networks often block it. */
  readonly blockable?: BlockableTransport;
  /**
   * Looks once for a transport that is better than that of this link and gets through. What it returns
   * connects through that one alone.
   */
  findBetter?(
    link: EdgeLink,
    credentials: EdgeCredentials,
    options: ConnectOptions,
  ): Promise<EdgeTransport | undefined>;
  /** The link ended without a word, soon after it began. */
  distrust?(link: EdgeLink): Promise<void>;
}

export interface BlockableTransport {
  /** The place at which it is remembered to work. */
  readonly url: string;
  /** A handshake, and no session. @throws CONNECT_FAILED when it does not get through */
  probe(credentials: EdgeCredentials, options: ConnectOptions): Promise<void>;
}

/** One authenticated connection to the hub. The client never knows which library is behind it. */
export interface EdgeLink {
  readonly transport: TransportName;
  /** Address of the hub as it was dialled, for logs. */
  readonly remoteAddress: string;
  /**
   * Sets who receives what the hub sends; called exactly once. Nothing is lost in the meantime: a link that
   * exists reads nothing (or keeps what it read) until then, and a close before it is reported after it.
   */
  receive(handler: EdgeLinkHandler): void;
  /**
   * Resolves when the transport can take more.
   * @throws SESSION_CLOSED when the link has ended, MESSAGE_INVALID when this message cannot be sent on any
   * link (too large)
   */
  send(message: Message): Promise<void>;
  /** Says why, then ends the link; `onClose` follows, with this very reason. A second call does nothing. */
  close(reason: CloseReason): void;
}

export interface EdgeLinkHandler {
  /** One message, checked by the codec. Must not throw. */
  onMessage(message: Message): void;
  /** Exactly once, whoever ended it. `reason` is undefined when the hub just vanished. */
  onClose(reason: CloseReason | undefined): void;
}

/** What the hub says when it does not want a connection, before there is one. */
export interface Refusal {
  /** The word the hub gave: a close reason's name, or a refusal reason such as `expired`. */
  readonly word: string | undefined;
  /** HTTP status, where the transport has one. */
  readonly status?: number;
  /** The hub's own sentence, one line. */
  readonly detail: string;
  readonly retryAfterMs?: number;
}

/** The error for a hub that refused; carries its close reason for {@link refusalOf}. */
export function connectRefused(url: string, refusal: Refusal): SallyportError {
  const { name } = readRefusal(refusal);
  return new SallyportError('CONNECT_REFUSED', {
    url,
    problem: refusal.detail,
    reason: name,
    ...(refusal.word === undefined ? {} : { word: refusal.word }),
    ...(refusal.status === undefined ? {} : { status: refusal.status }),
    ...(refusal.retryAfterMs === undefined ? {} : { retryAfterMs: refusal.retryAfterMs }),
  });
}

/**
 * What to do after `connect` failed: the hub's close reason, or undefined when it did not say (then:
 * back-off).
 */
export function refusalOf(error: unknown): CloseReason | undefined {
  if (!(error instanceof SallyportError) || error.code !== 'CONNECT_REFUSED') return undefined;
  const { reason, retryAfterMs } = error.details;
  return closeReason(reason as CloseReasonName, retryAfterMs as number | undefined);
}

/**
 * The hub's refusal as a close reason: by its word, else by its status. A bare 403 is *not* final: a proxy
 * between may have written it, and a fleet that gives up for ever because of a proxy has to be visited node
 * by node.
 */
export function readRefusal({ word, status, retryAfterMs }: Refusal): CloseReason {
  const name = word === undefined ? undefined : closeOfRefusal(word);
  if (name !== undefined) return closeReason(name, retryAfterMs);
  return closeReason(status === 401 ? 'Unauthenticated' : 'TryAgainLater', retryAfterMs);
}
