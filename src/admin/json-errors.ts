import type { Socket } from 'node:net';
import type { FastifyReply } from 'fastify';
import { SallyportError } from '../core/errors.ts';
import {
  answerBrokenRequest,
  errorHeaders,
  SECURITY_HEADERS,
  toSallyportError,
} from '../core/http-errors.ts';

const JSON_TYPE = 'application/json; charset=utf-8';

/** `{error: {code, message, fix, details}}` with the error's status. */
export function sendFailure(reply: FastifyReply, error: SallyportError): FastifyReply {
  return reply
    .code(error.status)
    .headers({ ...SECURITY_HEADERS, ...errorHeaders(error) })
    .type(JSON_TYPE)
    .send(JSON.stringify(failureBody(error)));
}

/**
 * Anything thrown while a request is answered. What the framework says of a body gets a code of its own; one
 * over the limit that of a message.
 */
export function toAdminError(error: unknown, bodyBytes: number): SallyportError {
  switch ((error as { code?: unknown } | null)?.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new SallyportError('MESSAGE_TOO_LARGE', { limitBytes: bodyBytes }, error);
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new SallyportError('MEDIA_TYPE_UNSUPPORTED', {}, error);
    default:
      return toSallyportError(error);
  }
}

/** Answers a connection whose bytes are no HTTP, and closes it. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  answerBrokenRequest(error, socket, (problem) => ({
    body: JSON.stringify(failureBody(new SallyportError('BAD_REQUEST', { problem }))),
    type: JSON_TYPE,
  }));
}

export function failureBody({ code, message, fix, details }: SallyportError): { readonly error: object } {
  return { error: { code, message, fix, details } };
}
