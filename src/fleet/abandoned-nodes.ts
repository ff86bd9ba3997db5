import type { MessageBus } from '../contracts/message-bus.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import type { Component } from '../core/lifecycle.ts';
import type { Logger } from '../core/log.ts';
import type { Unsubscribe } from '../core/property.ts';
import type { NatsOwnership } from './nats-ownership.ts';
import type { NatsReplicas } from './nats-replicas.ts';

/** Most nodes of a replica that died are back elsewhere by then, and need no clearing up, milliseconds. */
const CLEAR_UP_AFTER_MS = 20_000;

export interface AbandonedNodesParts {
  readonly ownership: NatsOwnership;
  readonly replicas: NatsReplicas;
  readonly bus: Pick<MessageBus, 'publish'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Clears up behind replicas that died: their nodes are free at once, because a dead replica owns nothing;
 * here the entries of those that did not come back are removed, and the world is told that they are gone. One
 * replica does it, the first by its run; should two, the second finds nothing.
 */
export class AbandonedNodes implements Component {
  readonly name = 'abandoned-nodes';
  readonly #parts: AbandonedNodesParts;
  readonly #afterMs: number;
  readonly #offs: Unsubscribe[] = [];
  #timer: Timer | undefined;
  #working: Promise<void> = Promise.resolve();

  constructor(parts: AbandonedNodesParts, { afterMs = CLEAR_UP_AFTER_MS }: { afterMs?: number } = {}) {
    this.#parts = parts;
    this.#afterMs = afterMs;
  }

  async start(): Promise<void> {
    const { replicas } = this.#parts;
    this.#offs.push(
      replicas.onDied(() => this.#plan()),
      // What died while nobody was looking.
      replicas.onSure(() => this.#plan()),
    );
  }

  async stop(): Promise<void> {
    for (const off of this.#offs) off();
    this.#timer?.cancel();
    await this.#working;
  }

  #plan(): void {
    this.#timer?.cancel();
    this.#timer = this.#parts.clock.setTimeout(() => {
      this.#working = this.#clearUp();
    }, this.#afterMs);
  }

  async #clearUp(): Promise<void> {
    const { ownership, replicas, bus, clock, log } = this.#parts;
    if (replicas.list().some(({ run }) => run < replicas.self.run)) return;
    let nodes = 0;
    try {
      for await (const { node, owner } of ownership.abandoned()) {
        const { sessionId, transport, epoch } = owner;
        nodes++;
        const at = clock.now();
        await bus.publish({
          type: 'disconnected',
          node,
          sessionId,
          transport,
          at,
          reason: 'ReplicaLost',
          epoch,
        });
      }
    } catch (error) {
      log.warn({ problem: describeError(error) }, 'clearing up behind a lost replica was broken off');
      this.#plan();
    }
    if (nodes > 0) log.info({ nodes }, 'nodes of lost replicas are given up');
  }
}
