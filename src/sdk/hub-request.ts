import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import { MAX_HINT_MS } from './reconnect-delay.ts';
import type { EdgeCredentials } from './transports/transport.ts';

/** Certificates and one line of text are all the hub ever answers with. */
const MAX_ANSWER_BYTES = 64 * 1024;

export interface HubRequest {
  /** `host:port` of the HTTPS listener; IPv6 in brackets. */
  readonly address: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent with GET, as KubeEdge's EdgeCore does. */
  readonly body?: Uint8Array;
  /**
   * Whom to believe: one CA (PEM), or nobody, which is right only for what is checked by other means
   * afterwards.
   */
  readonly trust: { readonly ca: string } | 'unverified';
  /** The client certificate to show. */
  readonly credentials?: EdgeCredentials;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface HubAnswer {
  readonly status: number;
  readonly body: Buffer;
  /** From `Retry-After`. */
  readonly retryAfterMs?: number;
  /** Why the hub refused, a word of docs/errors.md; from `Sallyport-Reason`. */
  readonly word?: string;
}

/**
 * One `GET` to the hub's HTTPS listener on a connection of its own. @throws CONNECT_FAILED; the signal's
 * reason when aborted
 */
export async function askHub(options: HubRequest, clock: Clock): Promise<HubAnswer> {
  const { address, path, headers, body, trust, credentials, timeoutMs, signal } = options;
  signal?.throwIfAborted();
  const url = new URL(path, `https://${address}`);
  let abort: (reason: Error) => void = () => {};
  const onAbort = () => abort(signal!.reason as Error);
  const timer = clock.setTimeout(() => abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await new Promise<HubAnswer>((resolve, reject) => {
      const outgoing = request(url, {
        agent: false,
        minVersion: 'TLSv1.2',
        headers: { ...headers, ...(body ? { 'Content-Length': String(body.byteLength) } : {}) },
        ...(trust === 'unverified'
          ? { rejectUnauthorized: false }
          : { ca: trust.ca, allowPartialTrustChain: true }),
        ...(credentials ? { cert: credentials.certificate, key: credentials.key } : {}),
      });
      abort = (reason) => outgoing.destroy(reason);
      outgoing.once('error', reject);
      outgoing.once('response', (answer) => readAnswer(answer).then(resolve, reject));
      outgoing.end(body);
    });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new SallyportError('CONNECT_FAILED', { url: url.href, problem: describeError(cause) }, cause);
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
  }
}

async function readAnswer(answer: IncomingMessage): Promise<HubAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > MAX_ANSWER_BYTES) {
      answer.destroy();
      throw new Error(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  const retryAfterMs = parseRetryAfter(answer.headers['retry-after']);
  const word = answer.headers['sallyport-reason'];
  return {
    status: answer.statusCode ?? 0,
    body: Buffer.concat(chunks),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(typeof word === 'string' ? { word } : {}),
  };
}

/**
 * `Retry-After` in its form of seconds (RFC 9110 §10.2.3), as milliseconds; the form of a date is not used by
 * the hub.
 */
export function parseRetryAfter(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,6}$/.test(value)
    ? Math.min(Number(value) * 1000, MAX_HINT_MS)
    : undefined;
}

/** The first line of a text answer, fit for a log: bounded, and without control characters. */
export function firstLine(text: string): string {
  const line = text.trim().split(/[\r\n]/, 1)[0]!;
  return Array.from(line.slice(0, 300), (character) => (character < ' ' ? ' ' : character)).join('');
}
