import type { EdgeConnection, EdgeConnectionHandler } from '../contracts/edge-connection.ts';
import type { DownstreamConsumer, DownstreamItem } from '../contracts/message-bus.ts';
import type { Claim } from '../contracts/node-ownership.ts';
import type { RelayedEdge, UpstreamLink } from '../contracts/upstream-relay.ts';
import { type Clock, monotonicAt } from '../core/clock.ts';
import { isSallyportError } from '../core/errors.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import { decodeJson } from '../protocol/codec-json.ts';
import type { Message } from '../protocol/message.ts';
import { type Fate, Outbox, type OutboxOptions } from './outbox.ts';
import { withoutNodePrefix } from './resources.ts';
import type { Throttle, Throttles } from './throttle.ts';
import type { TrafficMeter } from './traffic-meter.ts';

/** What every session of a hub shares, so that one session holds a single reference to it. */
export interface SessionServices {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly meter: TrafficMeter;
  readonly throttles: Throttles;
  readonly options: () => OutboxOptions;
  /** Handles what the edge sent; a promise holds the connection's reading back. */
  dispatch(session: Session, message: Message, bytes: number): void | Promise<void>;
  /** The connection is gone. */
  gone(session: Session, reason: CloseReason | undefined): void;
  /** The connection takes nothing more. */
  stuck(session: Session): void;
  /** A message of the bus went to the edge. */
  sent(session: Session, message: Message): void;
  /** The session takes what the bus has for its node. */
  attach(session: Session): Unsubscribe;
}

/** When, on the monotonic clock, and why the hub will end a session. */
export interface PlannedEnd {
  readonly at: number;
  readonly reason: CloseReason;
}

const MAX_OWN = 256;

/**
 * A node's presence in the hub, over exactly one connection. It hears the edge, and takes what the bus has
 * for it.
 */
export class Session implements EdgeConnectionHandler, DownstreamConsumer, RelayedEdge {
  readonly id: string;
  readonly connection: EdgeConnection;
  /** When it began: as a date, milliseconds since the epoch. */
  readonly since: number;
  /** Last sign of life, on the monotonic clock. */
  lastHeard: number;
  /** Silence after which it ends, milliseconds. */
  timeoutMs: number;
  /** Keepalives received, and when the last came. */
  beats = 0;
  lastBeat = 0;
  messagesReceived = 0;
  messagesSent = 0;
  /** Messages refused because they speak for somebody else. */
  forbidden = 0;
  /** Upstream messages the bus has not taken yet. */
  pendingUpstream = 0;
  plannedEnd: PlannedEnd | undefined;
  /** Set while draining: nothing new is taken from the bus. */
  paused = false;
  claim: Claim | undefined;
  /** The node's connection to the system behind the gateway; undefined where there is none. */
  upstream: UpstreamLink | undefined;
  /** Epoch under which the world was told of this session. */
  announcedEpoch: number | undefined;
  /**
   * Settles when it is known whether the node is ours; undefined once it is. What the edge sends waits for
   * it, in order.
   */
  whenPlaced: Promise<void> | undefined;
  #placed: () => void = () => {};
  /** Whether the node is ours now, and whether the connection is set up. Both are needed to take messages. */
  #owned = false;
  #receiving = false;
  #detach: Unsubscribe | undefined;
  readonly #services: SessionServices;
  readonly #throttle: Throttle;
  #outbox: Outbox | undefined;
  #ended = false;
  /** Ids of what was sent to the edge and is not the system's behind, the last {@link MAX_OWN}. */
  #own: Set<string> | undefined;
  #meteredBytes = 0;

  constructor(services: SessionServices, { id, connection, timeoutMs }: SessionStart) {
    this.#services = services;
    this.id = id;
    this.connection = connection;
    this.timeoutMs = timeoutMs;
    this.since = services.clock.now();
    this.lastHeard = services.clock.monotonic();
    this.#throttle = services.throttles.of(this.node);
  }

  get node(): string {
    return this.connection.peer.nodeName;
  }

  get projectId(): string {
    return this.connection.projectId;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get unacknowledged(): number {
    return this.#outbox?.unacknowledged ?? 0;
  }

  /** How long it was held back for sending more than it may, milliseconds. */
  get heldBackMs(): number {
    return this.#throttle.heldBackMs;
  }

  // — whose the node is —

  /** Holds upstream messages back until {@link own} or {@link suspend}. */
  place(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.whenPlaced = promise;
    this.#placed = resolve;
  }

  /** The node is this session's: it takes messages as soon as it receives. */
  own(): void {
    this.#owned = true;
    this.#settlePlace();
    this.#attach();
  }

  /** The connection hears {@link onMessage} from now on. */
  receiving(): void {
    this.#receiving = true;
    this.#attach();
  }

  /** Nobody can say whose the node is: what is under way goes back to the bus, the connection stays. */
  suspend(): void {
    this.#owned = false;
    this.#settlePlace();
    this.#giveBack();
  }

  #attach(): void {
    if (this.#ended || !this.#owned || !this.#receiving) return;
    this.#detach ??= this.#services.attach(this);
  }

  #giveBack(): void {
    this.#detach?.();
    this.#detach = undefined;
    this.#outbox?.close();
    this.#outbox = undefined;
  }

  #settlePlace(): void {
    this.whenPlaced = undefined;
    this.#placed();
  }

  // — what the connection tells —

  onArrival(bytes: number): undefined | Promise<void> {
    return this.#throttle.grant(bytes);
  }

  onMessage(message: Message, bytes: number): void | Promise<void> {
    if (this.#ended) {
      this.#services.metrics.messagesDropped.inc({ direction: 'upstream', reason: 'session-ended' });
      return;
    }
    this.lastHeard = this.#services.clock.monotonic();
    this.messagesReceived++;
    this.#services.meter.count('upstream', this.connection.transport, bytes);
    return this.#services.dispatch(this, message, bytes);
  }

  onAlive(): void {
    if (!this.#ended) this.lastHeard = this.#services.clock.monotonic();
  }

  onClose(reason: CloseReason | undefined): void {
    if (!this.#ended) this.#services.gone(this, reason);
  }

  // — what the bus asks —

  get window(): number {
    return this.paused || this.#ended ? 0 : this.#services.options().window;
  }

  deliver({ message, acknowledged, expiresAt }: DownstreamItem): Promise<Fate> {
    // A bus may have fetched the item while the node was ours, and hand it over when it no longer is.
    if (this.#ended || !this.#owned) return Promise.resolve('disconnected');
    this.#outbox ??= new Outbox(
      {
        send: (outgoing) => this.#sendOrFail(outgoing),
        sent: (outgoing) => this.#services.sent(this, outgoing),
        clock: this.#services.clock,
        metrics: this.#services.metrics,
      },
      this.#services.options,
    );
    return this.#outbox.deliver({
      message: this.#asTheEdgeSeesIt(message),
      acknowledged,
      ...(expiresAt === undefined ? {} : { expiresAt: monotonicAt(this.#services.clock, expiresAt) }),
    });
  }

  // — what the hub does —

  /** Whether the message was one of ours, not of the system behind: its answers stay here, late ones too. */
  isOwn(id: string): boolean {
    return this.#own?.has(id) ?? false;
  }

  /** An acknowledgement came. @returns false when this very session waits for no such answer (J3) */
  answer(parentId: string, response: Message): boolean {
    return this.#outbox?.answer(parentId, response) ?? false;
  }

  // — what comes from upstream, and what is asked there —

  whenThere(): Promise<void> {
    return this.connection.whenThere?.() ?? Promise.resolve();
  }

  /** Past the queue: the system behind keeps what was not acknowledged, and sends it again. */
  fromUpstream(frame: Buffer): void | Promise<void> {
    if (this.#ended) return;
    this.messagesSent++;
    this.#services.meter.count('downstream', this.connection.transport, 0);
    try {
      const { connection } = this;
      const sent = connection.sendJson ? connection.sendJson(frame) : connection.send(decodeJson(frame));
      return sent?.catch((error: unknown) => this.#notSent(error));
    } catch (error) {
      this.#notSent(error);
    }
  }

  /** Sends at once, past the queue. Never rejects: a connection that cannot send tells by closing. */
  async reply(message: Message): Promise<void> {
    if (this.#ended) return;
    try {
      await this.#send(message);
    } catch (error) {
      this.#notSent(error);
    }
  }

  #notSent(error: unknown): void {
    const reason = isSallyportError(error) ? error.code.toLowerCase().replaceAll('_', '-') : 'send-failed';
    this.#services.metrics.messagesDropped.inc({ direction: 'downstream', reason });
  }

  whenAcknowledged(): Promise<void> {
    return this.#outbox?.whenEmpty() ?? Promise.resolve();
  }

  /** Bytes sent since this was last asked. */
  takeSentBytes(): number {
    const { bytesSent } = this.connection.stats();
    const fresh = bytesSent - this.#meteredBytes;
    this.#meteredBytes = bytesSent;
    return fresh;
  }

  /**
   * Gives what was under way back to the bus. @param close told to the edge; undefined when the connection is
   * gone already
   */
  end(close: CloseReason | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#throttle.end();
    this.#settlePlace();
    this.#giveBack();
    this.upstream?.close();
    if (close) this.connection.close(close);
  }

  /**
   * A connection that can no longer send, and has not said that it is closed, is of no use: better end it
   * than let its queue stand still.
   */
  async #sendOrFail(message: Message): Promise<void> {
    try {
      await this.#send(message);
    } catch (error) {
      if (!isSallyportError(error, 'SESSION_CLOSED', 'MESSAGE_INVALID', 'MESSAGE_TOO_LARGE'))
        this.#services.stuck(this);
      throw error;
    }
  }

  async #send(message: Message): Promise<void> {
    if (this.upstream) this.#remember(message.header.msg_id);
    await this.connection.send(message);
    this.messagesSent++;
    this.#services.meter.count('downstream', this.connection.transport, 0);
  }

  #remember(id: string): void {
    this.#own ??= new Set();
    this.#own.delete(id);
    this.#own.add(id);
    if (this.#own.size > MAX_OWN) this.#own.delete(this.#own.values().next().value!);
  }

  #asTheEdgeSeesIt(message: Message): Message {
    const { resource } = message.route;
    if (resource === undefined) return message;
    const stripped = withoutNodePrefix(this.node, resource);
    return stripped === resource ? message : message.withRoute({ ...message.route, resource: stripped });
  }
}

interface SessionStart {
  readonly id: string;
  readonly connection: EdgeConnection;
  readonly timeoutMs: number;
}
