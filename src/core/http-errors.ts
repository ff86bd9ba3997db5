import type { Socket } from 'node:net';
import { SallyportError } from './errors.ts';

/**
 * Anything thrown while a request is answered, as an error of the table. What is not ours and no 4xx of the
 * framework is INTERNAL.
 */
export function toSallyportError(error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  const { statusCode, message } = (error ?? {}) as { statusCode?: unknown; message?: unknown };
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
    return new SallyportError('BAD_REQUEST', { problem: oneLine(String(message)) }, error);
  return new SallyportError('INTERNAL', {}, error);
}

/**
 * Headers every error answer carries: when to come back (RFC 9110 §10.2.3), how to authenticate (§11.6.1),
 * which methods there are (§10.2.1).
 */
export function errorHeaders(error: SallyportError): Record<string, string> {
  const { retryAfterMs, allow } = error.details;
  return {
    ...(typeof retryAfterMs === 'number'
      ? { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }
      : {}),
    ...(error.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    ...(error.status === 405 ? { allow: String(allow) } : {}),
  };
}

/**
 * For answers to machines over TLS: nothing is to be sniffed, cached, framed or run (OWASP REST security
 * cheat sheet).
 */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

interface RawHttpError {
  readonly status: 400 | 408 | 413 | 431;
  readonly text: string;
}

/** What to answer when Node's parser gave up on a connection (`clientError`). */
function rawHttpError(error: { readonly code?: string }): RawHttpError {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { status: 408, text: 'the request was not complete in time' };
    case 'HPE_HEADER_OVERFLOW':
      return { status: 431, text: 'the request headers are too large' };
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return { status: 413, text: 'the chunk extensions are too large' };
    default:
      return { status: 400, text: 'this is not a valid HTTP/1.1 request' };
  }
}

const STATUS_TEXTS: Record<RawHttpError['status'], string> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  413: 'Content Too Large',
  431: 'Request Header Fields Too Large',
};

/** How long a peer may take to take the answer to something that was no request, milliseconds. */
const FAREWELL_MS = 1000;

/**
 * Answers a connection on which Node's parser gave up (`clientError`) and closes it.
 * @param render body and media type of the answer
 * @returns the status that was answered; undefined when the peer had gone
 */
export function answerBrokenRequest(
  error: { readonly code?: string },
  socket: Socket,
  render: (problem: string) => { readonly body: string; readonly type: string },
): number | undefined {
  // The rest of a request that was answered arrives: its answer must still get out.
  if (socket.writableEnded) return undefined;
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return undefined;
  }
  const { status, text } = rawHttpError(error);
  const { body, type } = render(text);
  const head = {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    connection: 'close',
    ...SECURITY_HEADERS,
  };
  const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}`);
  socket.write([`HTTP/1.1 ${status} ${STATUS_TEXTS[status]}`, ...lines, '', body].join('\r\n'));
  socket.setTimeout(FAREWELL_MS, () => socket.destroy());
  socket.destroySoon();
  return status;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').slice(0, 300);
}
