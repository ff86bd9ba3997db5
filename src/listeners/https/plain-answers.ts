import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { SallyportError } from '../../core/errors.ts';
import { answerBrokenRequest, errorHeaders, SECURITY_HEADERS } from '../../core/http-errors.ts';
import type { Verdict } from '../../identity/node-identity.ts';
import { rejectionFacts, rejectionReason } from '../../identity/rejection-reason.ts';
import { encodeFacts, FACTS_HEADER } from '../../protocol/peer-facts.ts';
import { hasUnreadBody } from './request-body.ts';

const TEXT = 'text/plain; charset=utf-8';

/** Says why, for programs: a word of `protocol/rejection-reasons.ts`. The body is for people. */
export const REASON_HEADER = 'sallyport-reason';

/** Answers with the error's status, why in {@link REASON_HEADER}, and one plain line (requirement D9). */
export function sendError(
  request: FastifyRequest,
  reply: FastifyReply,
  error: SallyportError,
  verdict: Verdict | undefined = undefined,
): FastifyReply {
  const facts = encodeFacts(rejectionFacts(error, verdict));
  // What is left of the body is not worth reading; without this it would be taken for the next request's
  // start.
  if (hasUnreadBody(request.raw)) reply.header('connection', 'close');
  return reply
    .code(error.status)
    .headers({
      ...SECURITY_HEADERS,
      ...errorHeaders(error),
      [REASON_HEADER]: rejectionReason(error, verdict),
      ...(facts === undefined ? {} : { [FACTS_HEADER]: facts }),
    })
    .type(TEXT)
    .send(`${error.message.replaceAll(/\s+/g, ' ')}\n`);
}

export function sendText(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).headers(SECURITY_HEADERS).type(TEXT).send(text);
}

/**
 * Answers a connection whose bytes are no HTTP, and closes it. @returns the status, undefined when nobody was
 * there to be answered
 */
export function answerClientError(error: Error & { code?: string }, socket: Socket): number | undefined {
  return answerBrokenRequest(error, socket, (problem) => ({ body: `${problem}\n`, type: TEXT }));
}
