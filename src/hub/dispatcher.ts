import type { MessageBus } from '../contracts/message-bus.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { type CloseReason, closeReason } from '../protocol/close-reasons.ts';
import { createResponse, type Message } from '../protocol/message.ts';
import { RecentMessages } from './recent-messages.ts';
import { whyForbidden, withNodePrefix } from './resources.ts';
import type { Session } from './session.ts';
import { upstreamKind } from './upstream-kind.ts';

/** A session that sent so many forbidden messages is ended: by then it is no slip. */
const MAX_FORBIDDEN = 100;

export interface DispatcherHooks {
  /** The edge sent a keepalive. */
  beat(session: Session): void;
  end(session: Session, reason: CloseReason): void;
  /** Whether cloud programs get a copy of what edges say to the system behind. */
  copiesUpstream(): boolean;
}

/**
 * Decides what becomes of each message of an edge. Keepalives and control are handled here, whatever the bus
 * does (I9).
 */
export class Dispatcher {
  readonly #bus: MessageBus;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #hooks: DispatcherHooks;
  readonly #sampler: LogSampler;
  readonly #recent = new RecentMessages();

  constructor(
    { bus, clock, log, metrics }: { bus: MessageBus; clock: Clock; log: Logger; metrics: Metrics },
    hooks: DispatcherHooks,
  ) {
    this.#bus = bus;
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
    this.#hooks = hooks;
    this.#sampler = new LogSampler({ clock });
  }

  /** Never throws, never rejects. A promise means: read no further than a bounded number ahead of it. */
  dispatch(session: Session, message: Message, bytes: number): void | Promise<void> {
    switch (upstreamKind(message)) {
      case 'keepalive':
        session.upstream?.keepalive(message);
        return this.#hooks.beat(session);
      case 'control':
        return session.reply(createResponse(message, 'ack', { now: this.#clock.now() }));
      case 'answer':
        return this.#answer(session, message);
      case 'data':
        return this.#data(session, message, bytes);
    }
  }

  /** An answer to what is not ours is for the system behind, which has its own acknowledgements. */
  #answer(session: Session, message: Message): void | Promise<void> {
    const { upstream } = session;
    const parentId = message.header.parent_msg_id!;
    if (upstream && !session.isOwn(parentId)) {
      const { operation, resource = '' } = message.route;
      // CloudCore takes a `response` for an acknowledgement, whatever it is about; on the rest it may act.
      const forbidden = operation === 'response' ? undefined : whyForbidden(session.node, { resource });
      return forbidden === undefined ? upstream.take(message) : this.#refuse(session, message, forbidden);
    }
    const counted = session.answer(parentId, message);
    const result = !counted ? 'unknown' : message.route.operation === 'error' ? 'negative' : 'positive';
    this.#metrics.acknowledgements.inc({ result });
  }

  #data(session: Session, message: Message, bytes: number): void | Promise<void> {
    const { node, upstream } = session;
    const { sync, msg_id } = message.header;
    const forbidden = whyForbidden(node, message.route);
    if (forbidden !== undefined) return this.#refuse(session, message, forbidden);
    if (upstream) {
      const taken = upstream.take(message);
      if (this.#hooks.copiesUpstream()) this.#copy(session, message, bytes);
      if (!sync) return taken;
      return Promise.resolve(taken).then(() => this.#tell(session, message, 'OK'));
    }
    const publish = () => this.#publish(session, message, bytes);
    // Who asks for an acknowledgement sends again until it comes.
    const taken = sync ? this.#recent.once(node, msg_id, publish) : publish();
    const settled = () => (sync ? this.#tell(session, message, 'OK') : undefined);
    if (!taken) return settled();
    session.pendingUpstream++;
    return taken.then(
      () => {
        session.pendingUpstream--;
        return settled();
      },
      (error: unknown) => {
        session.pendingUpstream--;
        return this.#notTaken(session, message, error);
      },
    );
  }

  /** For cloud programs that look on; it must not hold up what goes to the system behind. */
  #copy(session: Session, message: Message, bytes: number): void {
    this.#publish(session, message, bytes)?.catch(() =>
      this.#metrics.messagesDropped.inc({ direction: 'upstream', reason: 'copy-not-taken' }),
    );
  }

  /** Tells the world what the node said, once it is known that the node is ours. */
  #publish(session: Session, message: Message, bytes: number): undefined | Promise<void> {
    const { node, id: sessionId, whenPlaced } = session;
    const resource = withNodePrefix(node, message.route.resource);
    const said = message.withRoute({ ...message.route, resource });
    const publish = () => this.#bus.publish({ type: 'message', node, sessionId, message: said, bytes });
    return whenPlaced ? whenPlaced.then(publish) : publish();
  }

  /**
   * Nothing is acknowledged that the bus did not take. Only who asked for an answer is told: edges of our
   * SDK. EdgeCore never sets `sync` (recorded with 1.15 and 1.23).
   */
  #notTaken(session: Session, message: Message, error: unknown): void | Promise<void> {
    const reason = isSallyportError(error) ? error.code.toLowerCase().replaceAll('_', '-') : 'bus-failed';
    this.#metrics.messagesDropped.inc({ direction: 'upstream', reason });
    const suppressed = this.#sampler.pass(`not-taken ${reason}`);
    if (suppressed !== undefined) {
      const fields = { node: session.node, problem: describeError(error), suppressed };
      this.#log.warn(fields, 'the bus did not take messages of edges');
    }
    if (message.header.sync) return this.#tell(session, message, describeError(error), 'error');
  }

  #refuse(session: Session, message: Message, problem: string): void | Promise<void> {
    session.forbidden++;
    this.#metrics.messagesDropped.inc({ direction: 'upstream', reason: 'forbidden' });
    const suppressed = this.#sampler.pass(`forbidden ${session.node}`);
    if (suppressed !== undefined) {
      const { source, resource } = message.route;
      this.#log.warn(
        { node: session.node, session: session.id, source, resource, problem, suppressed },
        'refused a message that speaks for somebody else',
      );
    }
    if (session.forbidden >= MAX_FORBIDDEN) {
      this.#hooks.end(session, closeReason('ProtocolError'));
      return;
    }
    if (message.header.sync)
      return this.#tell(session, message, new SallyportError('MESSAGE_FORBIDDEN').message, 'error');
  }

  #tell(
    session: Session,
    message: Message,
    content: string,
    operation: 'response' | 'error' = 'response',
  ): Promise<void> {
    return session.reply(createResponse(message, content, { now: this.#clock.now(), operation }));
  }
}
