import type { Config } from '../config/schema.ts';
import type { Admission, EdgeAcceptor, EdgeConnection } from '../contracts/edge-connection.ts';
import type { MessageBus } from '../contracts/message-bus.ts';
import type { LocalNodes, NodeInfo, SendRequest, SendResult } from '../contracts/node-directory.ts';
import type { NodeOwnership } from '../contracts/node-ownership.ts';
import type { UpstreamLink, UpstreamRelay } from '../contracts/upstream-relay.ts';
import type { Clock } from '../core/clock.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Unsubscribe } from '../core/property.ts';
import { Subscribers } from '../core/subscribers.ts';
import type { NodeIdentity } from '../identity/node-identity.ts';
import { type CloseReason, closeReason } from '../protocol/close-reasons.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { Message } from '../protocol/message.ts';
import { isNodeName } from '../protocol/node-name.ts';
import { Dispatcher } from './dispatcher.ts';
import { Door } from './door.ts';
import { drainSessions } from './drain.ts';
import { Liveness } from './liveness.ts';
import { nodeInfo } from './node-info.ts';
import { Presence } from './presence.ts';
import { withNodePrefix } from './resources.ts';
import { Sender } from './sender.ts';
import { Session, type SessionServices } from './session.ts';
import type { SessionEvent } from './session-event.ts';
import { SessionLog } from './session-log.ts';
import { SessionTrust, type TrustCheck } from './session-trust.ts';
import { Throttles } from './throttle.ts';
import { TrafficMeter } from './traffic-meter.ts';

export type HubOptions = Omit<Config['hub'], 'queue' | 'replica'> & {
  readonly replica: string;
  /** Whether cloud programs get a copy of what edges say to the system behind. */
  readonly copyUpstream?: boolean;
};

interface HubParts {
  readonly bus: MessageBus;
  readonly ownership: NodeOwnership;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** The system behind the gateway; without it, the bus takes what edges say. */
  readonly relay?: UpstreamRelay | undefined;
  /** Source of jitter in [0, 1), for tests. */
  readonly random?: () => number;
}

type StepName =
  | 'identify'
  | 'authorize'
  | 'withinLimits'
  | 'takeOver'
  | 'register'
  | 'claim'
  | 'relay'
  | 'announce';
/** What a refused connection is told; undefined lets it go on to the next step. */
type Step = (arrival: {
  readonly connection: EdgeConnection;
  session?: Session;
  /** Of the session that was taken over: it stays, so that the system behind notices nothing. */
  upstream?: UpstreamLink | undefined;
}) => CloseReason | undefined;

/**
 * One session a node: it accepts connections, ends what is silent or no longer trusted, and knows who is
 * here.
 */
export class SessionHub implements EdgeAcceptor, LocalNodes, Component {
  readonly name = 'hub';
  readonly #parts: Required<Omit<HubParts, 'relay'>> & Pick<HubParts, 'relay'>;
  readonly #options: () => HubOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #services: SessionServices;
  readonly #sender: Sender;
  readonly #door: Door;
  readonly #liveness: Liveness;
  readonly #trust: SessionTrust;
  readonly #presence: Presence;
  readonly #log: SessionLog;
  readonly #events = new Subscribers<SessionEvent>();
  /** Tells the sessions of this process from those of another one or an earlier life. */
  readonly #idPrefix = crypto.randomUUID().slice(0, 8);
  #epoch = 0;

  constructor(parts: HubParts, options: () => HubOptions) {
    this.#parts = { random: Math.random, ...parts };
    this.#options = options;
    const meter = new TrafficMeter(parts.metrics);
    const throttles = new Throttles(parts, () => options().rate);
    const hooks = {
      sessions: () => this.#sessions.values(),
      close: (session: Session, reason: CloseReason) => this.#close(session, reason),
      planEnd: (session: Session, reason: CloseReason) => this.#planEnd(session, reason),
      looked: (now: number) => throttles.sweep(now),
    };
    this.#liveness = new Liveness({ ...parts, meter, hooks }, options);
    this.#log = new SessionLog(parts);
    this.#door = new Door(this.#parts, options);
    this.#trust = new SessionTrust(parts.log, {
      ...hooks,
      shutOut: (session, reason) => this.#shutOut(session, reason),
    });
    this.#presence = new Presence(parts, {
      takenFrom: (previous, around) => this.#door.takenFrom(previous, around),
      close: hooks.close,
    });
    this.#sender = new Sender({ ...parts, isConnected: (node) => this.isConnectedAnywhere(node) });
    const dispatcher = new Dispatcher(parts, {
      beat: (session) => this.#liveness.beat(session),
      end: (session, reason) => this.#close(session, reason),
      copiesUpstream: () => options().copyUpstream ?? false,
    });
    this.#services = {
      clock: parts.clock,
      metrics: parts.metrics,
      meter,
      throttles,
      options,
      dispatch: (session, message, bytes) => dispatcher.dispatch(session, message, bytes),
      sent: (session, message) => this.#show(session, message),
      gone: (session, reason) => this.#end(session, reason, undefined),
      attach: (session) => this.#parts.bus.attach(session.node, session),
      stuck: (session) => this.#close(session, closeReason('SlowConsumer')),
    };
  }

  // — Component —

  async start(): Promise<void> {
    this.#liveness.start();
  }

  /** Ends what {@link drain} has left, at once. */
  async stop(): Promise<void> {
    this.#door.draining = true;
    this.#liveness.stop();
    for (const session of [...this.#sessions.values()]) {
      this.#close(session, this.#door.drainingReason());
    }
    this.#log.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * Lets no new session in, and ends all over `windowMs`, each told why and when to return; outstanding
   * acknowledgements are awaited up to 5 s (H3). `signal` ends the patience.
   */
  async drain(windowMs: number, signal: AbortSignal): Promise<void> {
    this.#door.draining = true;
    const { clock, random } = this.#parts;
    await drainSessions([...this.#sessions.values()], {
      clock,
      random,
      windowMs,
      signal,
      end: (session) => this.#close(session, this.#door.drainingReason(windowMs)),
    });
  }

  /** Tells from now on what happens to sessions. */
  subscribe(listener: (event: SessionEvent) => void): Unsubscribe {
    return this.#events.subscribe(listener);
  }

  // — EdgeAcceptor —

  admit(peer: NodeIdentity, _transport: TransportName): Admission {
    const present = this.#sessions.get(peer.nodeName);
    return this.#door.admit(peer.nodeName, { present, sessions: this.#sessions.size });
  }

  /** All in one turn, so that no other connection of the node can come between (I12). */
  accept(connection: EdgeConnection): void {
    const arrival: Parameters<Step>[0] = { connection };
    for (const [step, run] of this.#acceptSteps) {
      const refusal = run(arrival);
      if (!refusal) continue;
      const fields = { node: connection.peer.nodeName, transport: connection.transport, step };
      this.#parts.log.debug({ ...fields, reason: refusal.name }, 'a connection was refused');
      this.#parts.metrics.connectionsRefused.inc({ transport: connection.transport, limit: refusal.name });
      connection.close(refusal);
      return;
    }
  }

  readonly #acceptSteps: readonly (readonly [StepName, Step])[] = [
    [
      'identify',
      ({ connection: { peer } }) => (isNodeName(peer.nodeName) ? undefined : closeReason('NodeMismatch')),
    ],
    ['authorize', ({ connection: { peer } }) => this.#trust.refusal(peer)],
    [
      'withinLimits',
      ({ connection: { peer, transport } }) => {
        const admission = this.admit(peer, transport);
        return admission.ok ? undefined : admission.close;
      },
    ],
    ['takeOver', (arrival) => this.#takeOver(arrival)],
    ['register', (arrival) => this.#register(arrival)],
    ['claim', ({ session }) => this.#presence.claim(session!)],
    ['relay', (arrival) => this.#relay(arrival)],
    ['announce', ({ session }) => this.#announce(session!)],
  ];

  // — LocalNodes —

  list(): readonly NodeInfo[] {
    return [...this.#sessions.values()].map((session) => this.#info(session));
  }

  get(node: string): NodeInfo | undefined {
    const session = this.#sessions.get(node);
    return session && this.#info(session);
  }

  disconnect(node: string, reason: CloseReason): boolean {
    const session = this.#sessions.get(node);
    if (session) this.#close(session, reason);
    return session !== undefined;
  }

  send(request: SendRequest): Promise<SendResult> {
    return this.#sender.send(request);
  }

  /** How many connected nodes `matches` holds for. */
  count(matches: (peer: NodeIdentity) => boolean): number {
    return [...this.#sessions.values()].filter(({ connection }) => matches(connection.peer)).length;
  }

  /** Who the session of the node belongs to. */
  identityOf(node: string): NodeIdentity | undefined {
    return this.#sessions.get(node)?.connection.peer;
  }

  isConnected(node: string): boolean {
    return this.#sessions.has(node);
  }

  /**
   * Whether the node has a session here or on another replica. @throws BUS_UNAVAILABLE when it has none here
   * and the others cannot be asked
   */
  async isConnectedAnywhere(node: string): Promise<boolean> {
    return this.isConnected(node) || (await this.#parts.ownership.lastKnownOwner(node)) !== undefined;
  }

  // — trust —

  /**
   * Takes over what identities are accepted from now on, and ends the sessions of those that are not: revoked
   * ones at once, the others spread over `expiryGraceMs`, so that a fleet does not return in one moment (G9).
   * A session that is covered again by then stays.
   * @returns how many sessions are no longer covered
   */
  applyTrust(check: TrustCheck): number {
    return this.#trust.apply(check);
  }

  #shutOut(session: Session, reason: CloseReason): void {
    const { peer, transport } = session.connection;
    this.#close(session, reason);
    this.#events.tell({ type: 'shut-out', peer, sessionId: session.id, transport, reason });
  }

  #planEnd(session: Session, reason: CloseReason): void {
    const { clock, random } = this.#parts;
    session.plannedEnd = { at: clock.monotonic() + random() * this.#options().expiryGraceMs, reason };
  }

  // — sessions —

  #takeOver(arrival: Parameters<Step>[0]): undefined {
    const { connection } = arrival;
    const present = this.#sessions.get(connection.peer.nodeName);
    if (!present) return;
    this.#door.takenOver(present, connection);
    if (present.projectId === connection.projectId) {
      arrival.upstream = present.upstream;
      present.upstream = undefined;
    }
    const reason = closeReason('TakenOver');
    this.#close(present, reason);
  }

  #register(arrival: Parameters<Step>[0]): undefined {
    const { connection } = arrival;
    const id = `${this.#idPrefix}-${(++this.#epoch).toString(36)}`;
    const node = connection.peer.nodeName;
    const timeoutMs = this.#liveness.timeoutFor(node);
    const session = new Session(this.#services, { id, connection, timeoutMs });
    arrival.session = session;
    this.#sessions.set(node, session);
    const { peer, transport, remoteAddress } = connection;
    this.#events.tell({ type: 'begun', peer, transport, remoteAddress });
    const { metrics } = this.#parts;
    metrics.sessions.inc(sessionLabels(connection));
    // A series a node is much for a large fleet, so it is asked for (L1).
    if (this.#options().nodeMetrics) metrics.nodeNotAfter.set({ node }, peer.certificate.notAfter / 1000);
  }

  #relay({ session, upstream }: Parameters<Step>[0]): undefined {
    upstream?.rebind(session!);
    session!.upstream = upstream ?? this.#parts.relay?.open(session!);
  }

  /** The connection may speak from now on, and hears what the bus has for its node once that is ours. */
  #announce(session: Session): undefined {
    const { connection, id, node } = session;
    const { transport, remoteAddress } = connection;
    this.#log.connected({ node, session: id, transport, remoteAddress });
    connection.receive(session);
    session.receiving();
  }

  #close(session: Session, reason: CloseReason): void {
    this.#end(session, reason, reason);
  }

  /** @param close told to the edge; undefined when the connection is gone already */
  #end(session: Session, reason: CloseReason | undefined, close: CloseReason | undefined): void {
    if (session.ended) return;
    const { node, id, connection } = session;
    if (this.#sessions.get(node) === session) {
      this.#sessions.delete(node);
      this.#events.tell({ type: 'ended', node });
    }
    session.end(close);
    const { transport } = connection;
    const why = reason?.name ?? 'Gone';
    const { metrics } = this.#parts;
    metrics.sessions.dec(sessionLabels(connection));
    metrics.nodeNotAfter.remove({ node });
    metrics.sessionsEnded.inc({ transport, reason: why });
    this.#log.disconnected({ node, session: id, transport, reason: why });
    this.#presence.ended(session, why);
  }

  /** As cloud programs see what edges send: acknowledgements and keepalives do not come here. */
  #show({ node, id: sessionId }: Session, message: Message): void {
    const { bus } = this.#parts;
    if (!bus.isWatched(node)) return;
    const resource = withNodePrefix(node, message.route.resource);
    bus.show({ node, sessionId, message: message.withRoute({ ...message.route, resource }) });
  }

  #info(session: Session): NodeInfo {
    const { messages } = this.#parts.bus.backlog(session.node);
    return nodeInfo(session, {
      replica: this.#options().replica,
      queued: messages,
      clock: this.#parts.clock,
    });
  }
}

function sessionLabels({ transport, keyExchange }: EdgeConnection) {
  const { group = 'unknown', postQuantum } = keyExchange ?? {};
  const post_quantum = postQuantum === undefined ? 'unknown' : postQuantum ? 'yes' : 'no';
  return { transport, group, post_quantum };
}
