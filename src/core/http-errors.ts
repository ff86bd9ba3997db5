import { SallyportError } from './errors.ts';

/** Anything thrown while a request is answered, as an error of the table. What is not ours and no 4xx of the framework is INTERNAL. */
export function toSallyportError(error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  const { statusCode, message } = (error ?? {}) as { statusCode?: unknown; message?: unknown };
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500)
    return new SallyportError('BAD_REQUEST', { problem: oneLine(String(message)) }, error);
  return new SallyportError('INTERNAL', {}, error);
}

/** Headers every error answer carries: when to come back (RFC 9110 §10.2.3), how to authenticate (§11.6.1). */
export function errorHeaders(error: SallyportError): Record<string, string> {
  const { retryAfterMs } = error.details;
  return {
    ...(typeof retryAfterMs === 'number'
      ? { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }
      : {}),
    ...(error.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
  };
}

/** For answers to machines over TLS: nothing is to be sniffed, cached, framed or run (OWASP REST security cheat sheet). */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

export interface RawHttpError {
  readonly status: 400 | 408 | 413 | 431;
  readonly text: string;
}

/** What to answer when Node's parser gave up on a connection (`clientError`). */
export function rawHttpError(error: { readonly code?: string }): RawHttpError {
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

/** A whole HTTP/1.1 answer for a connection that is beyond use, to be written before it is closed. */
export function rawHttpAnswer({ status }: RawHttpError, body: string, contentType: string): string {
  return [
    `HTTP/1.1 ${status} ${STATUS_TEXTS[status]}`,
    `content-type: ${contentType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    ...Object.entries(SECURITY_HEADERS).map(([name, value]) => `${name}: ${value}`),
    '',
    body,
  ].join('\r\n');
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').slice(0, 300);
}
