import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { SallyportError } from '../../core/errors.ts';
import { errorHeaders, rawHttpAnswer, rawHttpError, SECURITY_HEADERS } from '../../core/http-errors.ts';
import type { RefusalReason } from '../../identity/node-identity.ts';
import { hasUnreadBody } from './request-body.ts';

const TEXT = 'text/plain; charset=utf-8';

/** Says why, for programs: the word of `RefusalReason` where the certificate is at fault, else the error's code. The body is for people. */
export const REASON_HEADER = 'sallyport-reason';

/** Answers with the error's status, why in {@link REASON_HEADER}, and one plain line (requirement D9). */
export function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  error: SallyportError,
  reason: RefusalReason | undefined = undefined,
): FastifyReply {
  // What is left of the body is not worth reading; without this it would be taken for the next request's start.
  if (hasUnreadBody(request.raw)) reply.header('connection', 'close');
  return reply
    .code(error.status)
    .headers({ ...SECURITY_HEADERS, ...errorHeaders(error), [REASON_HEADER]: reason ?? error.code })
    .type(TEXT)
    .send(`${error.message.replaceAll(/\s+/g, ' ')}\n`);
}

export function sendText(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).headers(SECURITY_HEADERS).type(TEXT).send(text);
}

/** Answers a connection whose bytes are no HTTP, and closes it. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (socket.destroyed || !socket.writable) return void socket.destroy();
  const answer = rawHttpError(error);
  socket.write(rawHttpAnswer(answer, `${answer.text}\n`, TEXT));
  // Closed once written; a peer that does not take it gets no more time than this.
  socket.setTimeout(1000, () => socket.destroy());
  socket.destroySoon();
}
