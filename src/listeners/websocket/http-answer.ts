import { STATUS_CODES } from 'node:http';
import { encodeFacts, type PeerFacts } from '../../protocol/peer-facts.ts';

export interface HttpAnswer {
  readonly status: number;
  /** Word of `RefusalReason` or name of a close reason; goes into header `Sallyport-Reason`. */
  readonly reason: string;
  /** One line for a person. */
  readonly detail: string;
  readonly retryAfterMs?: number | undefined;
  readonly facts?: PeerFacts | undefined;
}

/** Headers of every answer of this listener; the connection ends with it. */
export function answerHeaders({
  status,
  reason,
  detail,
  retryAfterMs,
  facts,
}: HttpAnswer): Record<string, string> {
  const told = encodeFacts(facts);
  return {
    Connection: 'close',
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(answerBody(detail))),
    'Sallyport-Reason': reason,
    ...(told === undefined ? {} : { 'Sallyport-Facts': told }),
    ...(status === 405 ? { Allow: 'GET' } : {}),
    // RFC 6455 §4.4.
    ...(status === 426 ? { Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' } : {}),
    // Whole seconds, at least one (RFC 9110 §10.2.3).
    ...(retryAfterMs === undefined
      ? {}
      : { 'Retry-After': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }),
  };
}

export function answerBody(detail: string): string {
  return `${detail.replace(/[\r\n]+/g, ' ')}\n`;
}

/** The whole answer, for a socket that Node has handed over for an upgrade. */
export function rawAnswer(answer: HttpAnswer): string {
  const headers = Object.entries(answerHeaders(answer)).map(([name, value]) => `${name}: ${value}\r\n`);
  const line = `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ''}\r\n`;
  return `${line}${headers.join('')}\r\n${answerBody(answer.detail)}`;
}
