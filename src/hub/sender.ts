import type { DeliveryOutcome, MessageBus } from '../contracts/message-bus.ts';
import type { SendRequest, SendResult } from '../contracts/node-directory.ts';
import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import { checkMessage } from '../protocol/codec-json.ts';
import { isNodeName } from '../protocol/node-name.ts';
import { isAcknowledged } from './acknowledgement-policy.ts';

/** Longest wait for an acknowledgement when the caller names none, milliseconds. */
const DEFAULT_TIMEOUT_MS = 30_000;

/** Hands messages of cloud programs to the queue of a node, and waits for their fate when asked to. */
export class Sender {
  readonly #bus: MessageBus;
  readonly #clock: Clock;
  readonly #isConnected: (node: string) => Promise<boolean>;

  constructor({
    bus,
    clock,
    isConnected,
  }: { bus: MessageBus; clock: Clock; isConnected: (node: string) => Promise<boolean> }) {
    this.#bus = bus;
    this.#clock = clock;
    this.#isConnected = isConnected;
  }

  /**
   * @throws NODE_OFFLINE, QUEUE_FULL, BUS_UNAVAILABLE, MESSAGE_INVALID, NOT_ACKNOWLEDGED; the signal's reason
   * when it is aborted
   */
  async send({ node, message, wait, timeoutMs, signal }: SendRequest): Promise<SendResult> {
    signal?.throwIfAborted();
    if (!isNodeName(node))
      throw new SallyportError('MESSAGE_INVALID', { problem: 'the node has no valid name' });
    checkMessage(message);
    const addressee = /^node\/([^/]+)\//.exec(message.route.resource ?? '')?.[1];
    if (addressee !== undefined && addressee !== node) {
      throw new SallyportError('MESSAGE_INVALID', { problem: 'route.resource names another node' });
    }
    if (wait === 'ack' && !(await this.#isConnected(node)))
      throw new SallyportError('NODE_OFFLINE', { node });
    const item = { node, message, acknowledged: isAcknowledged(message) };
    if (wait === 'queued') {
      await this.#bus.post(item);
      return { kind: 'queued' };
    }
    const { outcome } = await this.#bus.enqueue(item);
    return this.#waitFor(outcome, { node, timeoutMs: timeoutMs ?? DEFAULT_TIMEOUT_MS, signal });
  }

  #waitFor(
    outcome: Promise<DeliveryOutcome>,
    { node, timeoutMs, signal }: { node: string; timeoutMs: number; signal: AbortSignal | undefined },
  ): Promise<DeliveryOutcome> {
    return new Promise((resolve, reject) => {
      const finish = () => {
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
      };
      const onAbort = () => {
        finish();
        reject(signal!.reason);
      };
      const timer = this.#clock.setTimeout(() => {
        finish();
        reject(new SallyportError('NOT_ACKNOWLEDGED', { node }));
      }, timeoutMs);
      signal?.addEventListener('abort', onAbort, { once: true });
      outcome.then((fate) => {
        finish();
        resolve(fate);
      });
    });
  }
}
