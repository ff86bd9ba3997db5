import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { createResponse, type Message } from '../protocol/message.ts';

export interface InboxComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Hands a message to the program; false when nobody listens. Rejects when the program failed with it. */
  readonly deliver: (message: Message) => Promise<boolean>;
  /**
   * Sends an acknowledgement if there is a link; without one the hub asks again by sending the message again.
   */
  readonly reply: (answer: Message) => void;
}

export interface InboxOptions {
  /**
   * Message ids remembered, to recognise what the hub sends again. CloudCore sends again within half a
   * minute.
   */
  readonly remembered?: number;
}

/** Answers larger than this are not kept: the program is asked again when the hub is. */
const MAX_KEPT_ANSWER_BYTES = 16 * 1024;

/**
 * Takes what the hub sends: delivers each message once, acknowledges it when the program is done with it,
 * says `error` when the program failed, and answers a repetition as it answered the first time. Handlers
 * start in the order of arrival and run at once.
 */
export class Inbox {
  readonly #components: InboxComponents;
  readonly #remembered: number;
  /** By msg_id, oldest first: the answer given, or `pending` while the program works on it. */
  readonly #seen = new Map<string, Message | 'pending'>();

  constructor(components: InboxComponents, { remembered = 2_000 }: InboxOptions = {}) {
    this.#components = components;
    this.#remembered = remembered;
  }

  async receive(message: Message): Promise<void> {
    if (isAcknowledgement(message)) return;
    const id = message.header.msg_id;
    // The hub sends an answer once, whatever it says, and awaits nothing.
    if (message.header.parent_msg_id) return this.#deliverLateAnswer(message);
    const before = this.#seen.get(id);
    if (before === 'pending') return;
    if (before) return this.#components.reply(before);
    this.#remember(id, 'pending');

    const now = () => this.#components.clock.now();
    let answer: Message;
    try {
      const delivered = await this.#components.deliver(message);
      if (!delivered) {
        // Not acknowledged, so that the hub keeps it for a program that listens.
        this.#forget(id);
        return;
      }
      answer = createResponse(message, 'OK', { now: now() });
    } catch (err) {
      this.#components.logger.warn(
        { err, id, resource: message.route.resource },
        'the program failed with a message',
      );
      answer = createResponse(message, describeError(err).slice(0, 300), {
        now: now(),
        operation: 'error',
      });
    }
    // The program may have answered by itself meanwhile.
    if (this.#seen.get(id) !== 'pending') return;
    this.#remember(id, answer);
    this.#components.reply(answer);
  }

  /** The program answered by itself: no "OK" follows. */
  answered(answer: Message): void {
    const id = answer.header.parent_msg_id;
    if (id === undefined) return;
    if (answer.heldBytes <= MAX_KEPT_ANSWER_BYTES) this.#remember(id, answer);
    else this.#forget(id);
  }

  /** Whoever asked has given up; the program may still make use of it. */
  async #deliverLateAnswer(message: Message): Promise<void> {
    await this.#components.deliver(message).catch((err: unknown) => {
      const { msg_id: id } = message.header;
      this.#components.logger.warn({ err, id }, 'the program failed with a late answer');
    });
  }

  #remember(id: string, answer: Message | 'pending'): void {
    this.#seen.delete(id);
    this.#seen.set(id, answer);
    if (this.#seen.size > this.#remembered) this.#forget(this.#seen.keys().next().value!);
  }

  #forget(id: string): void {
    this.#seen.delete(id);
  }
}

/**
 * Not to be acknowledged, or the two ends would do so for ever. CloudCore treats them so (`NoAckRequired`).
 */
function isAcknowledgement({ route, body }: Message): boolean {
  const { operation } = route;
  return operation === 'error' || (operation === 'response' && (body.is('OK') || body.is('ack')));
}
