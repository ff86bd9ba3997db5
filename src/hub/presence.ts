import type { MessageBus, UpstreamEvent } from '../contracts/message-bus.ts';
import type { NodeOwner, NodeOwnership } from '../contracts/node-ownership.ts';
import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { type Logger, LogSampler } from '../core/log.ts';
import type { Metrics } from '../core/metrics.ts';
import { type CloseReason, closeReason } from '../protocol/close-reasons.ts';
import type { Session } from './session.ts';

export interface PresenceParts {
  readonly bus: MessageBus;
  readonly ownership: NodeOwnership;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

export interface PresenceHooks {
  /** The session took its node from another replica, which has changed hands so often. */
  takenFrom(previous: NodeOwner, around: { readonly session: Session; readonly changes: number }): void;
  close(session: Session, reason: CloseReason): void;
}

/**
 * Asks for the node of each session in the name of the fleet, and tells the world which session a node has:
 * every beginning once, under its epoch, and its end.
 */
export class Presence {
  readonly #parts: PresenceParts;
  readonly #hooks: PresenceHooks;
  readonly #sampler: LogSampler;

  constructor(parts: PresenceParts, hooks: PresenceHooks) {
    this.#parts = parts;
    this.#hooks = hooks;
    this.#sampler = new LogSampler({ clock: parts.clock });
  }

  /**
   * Asks for the node in the name of the session. Alone, the answer comes in the same turn; a fleet answers
   * later, and the edge need not wait for it.
   */
  claim(session: Session): undefined {
    const { connection, id: sessionId, since, node } = session;
    session.place();
    session.claim = this.#parts.ownership.claim(
      { node, sessionId, transport: connection.transport, since },
      {
        took: (from, changes) => this.#took(session, { from, changes }),
        held: (epoch) => this.#held(session, epoch),
        suspended: () => session.suspend(),
        lost: (to) => this.#lost(session, to),
      },
    );
  }

  /** A session that the world never heard of, or that another replica has ended already, ends in silence. */
  ended(session: Session, reason: string): void {
    session.claim?.release();
    const { node, id: sessionId, connection, announcedEpoch: epoch } = session;
    if (epoch === undefined) return;
    const { transport } = connection;
    const at = this.#parts.clock.now();
    this.#publish({ type: 'disconnected', node, sessionId, transport, at, reason, epoch });
  }

  /**
   * The replica that lost the node says no more about it, so the end of its session is told here, before the
   * new beginning: followers see the same order as with one replica.
   */
  #took(session: Session, { from, changes }: { readonly from: NodeOwner; readonly changes: number }): void {
    this.#hooks.takenFrom(from, { session, changes });
    const { sessionId, transport, epoch } = from;
    const at = this.#parts.clock.now();
    const reason = 'TakenOver';
    this.#publish({ type: 'disconnected', node: session.node, sessionId, transport, at, reason, epoch });
  }

  /** The world is told before anything the edge says. */
  #held(session: Session, epoch: number): void {
    const { connection, id: sessionId, since, node } = session;
    if (session.announcedEpoch !== epoch) {
      session.announcedEpoch = epoch;
      const { transport } = connection;
      this.#publish({ type: 'connected', node, sessionId, transport, at: since, epoch });
    }
    session.own();
  }

  #lost(session: Session, to: NodeOwner): void {
    const { node, id } = session;
    this.#parts.log.info(
      { node, session: id, to: to.replica, epoch: to.epoch },
      'node moved to another replica',
    );
    session.announcedEpoch = undefined;
    this.#hooks.close(session, closeReason('TakenOver'));
  }

  #publish(event: UpstreamEvent): void {
    this.#parts.bus.publish(event)?.catch((error: unknown) => {
      this.#parts.metrics.messagesDropped.inc({ direction: 'upstream', reason: 'event-not-taken' });
      const suppressed = this.#sampler.pass('event-not-taken');
      if (suppressed === undefined) return;
      this.#parts.log.warn({ problem: describeError(error), suppressed }, 'the bus did not take an event');
    });
  }
}
