import type { Clock } from '../core/clock.ts';
import { SallyportError } from '../core/errors.ts';
import type { Message } from '../protocol/message.ts';
import type { Outbox } from './outbox.ts';

export interface QuestionOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Sends a message and resolves with what answers it. Given up, it is not sent again; an answer that comes
 * later is an ordinary message.
 * @throws ANSWER_TIMEOUT, the signal's reason, and what {@link Outbox.add} throws
 */
export async function ask(
  { outbox, clock }: { outbox: Outbox; clock: Clock },
  question: Message,
  { timeoutMs, signal }: QuestionOptions,
): Promise<Message> {
  signal?.throwIfAborted();
  const { msg_id: id } = question.header;
  const resource = question.route.resource ?? '';
  const onAbort = () => outbox.cancel(id, signal!.reason);
  const timer = clock.setTimeout(
    () => outbox.cancel(id, new SallyportError('ANSWER_TIMEOUT', { resource, timeoutMs })),
    timeoutMs,
  );
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return (await outbox.add(question, { answered: true }))!;
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
  }
}
