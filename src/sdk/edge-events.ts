import type { SallyportError } from '../core/errors.ts';
import type { Unsubscribe } from '../core/property.ts';
import type { CloseReason } from '../protocol/close-reasons.ts';
import type { TransportName } from '../protocol/listener-names.ts';
import type { Message } from '../protocol/message.ts';

/** What happens to an edge client. */
export interface EdgeEvents {
  /**
   * The hub sent a message. It is acknowledged when the handler returned (or its promise resolved) and
   * refused when it threw; a handler that called `respond` has answered already. Each message comes once,
   * however often the hub repeats it.
   */
  message: Message;
  /** A link is up; also when it replaces an older one. */
  connected: { readonly transport: TransportName; readonly hub: string };
  /**
   * The link is gone; `reason` is undefined when the hub just vanished. `final`: why the client does not come
   * back by itself: SHUT_OUT when the hub said never, QUIC_LIBRARY_MISSING, CLIENT_CLOSED.
   */
  disconnected: { readonly reason: CloseReason | undefined; readonly final: SallyportError | undefined };
  /** A new certificate is stored and in use from the next connection on, which follows at once. */
  renewed: { readonly notAfter: Date };
  /** An attempt to connect or to renew failed; the client goes on trying where that can help. */
  error: SallyportError | Error;
}

export type EdgeEventHandler<E extends keyof EdgeEvents> = (event: EdgeEvents[E]) => void | Promise<void>;

type Handlers = { [E in keyof EdgeEvents]: Set<EdgeEventHandler<E>> };

/**
 * Handlers by event. Unlike Node's emitter, an `error` nobody listens to is not thrown, and handlers can be
 * awaited.
 */
export class EdgeEventHandlers {
  readonly #handlers: Handlers = {
    message: new Set(),
    connected: new Set(),
    disconnected: new Set(),
    renewed: new Set(),
    error: new Set(),
  };

  on<E extends keyof EdgeEvents>(event: E, handler: EdgeEventHandler<E>): Unsubscribe {
    this.#handlers[event].add(handler);
    return () => this.#handlers[event].delete(handler);
  }

  /**
   * Calls every handler in the order they came; rejects with the first failure after all have finished.
   * False: there was none.
   */
  async emit<E extends keyof EdgeEvents>(event: E, value: EdgeEvents[E]): Promise<boolean> {
    const handlers = [...this.#handlers[event]];
    const results = await Promise.allSettled(handlers.map(async (handler) => handler(value)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
    return handlers.length > 0;
  }
}
