import type { IncomingMessage } from 'node:http';
import type { Clock } from '../../core/clock.ts';
import { SallyportError } from '../../core/errors.ts';

export interface BodyLimits {
  readonly bodyBytes: number;
  /** Absolute: a byte now and then does not extend it. */
  readonly timeoutMs: number;
}

/**
 * Reads a whole request body, of any method and any content type: EdgeCore sends its CSR as the body of a
 * `GET` without a content type. Length-delimited and chunked bodies are the same here (requirement D8).
 * @throws CSR_TOO_LARGE as soon as it is known, REQUEST_TIMEOUT, BAD_REQUEST when the peer went away
 */
export function readBody(
  request: IncomingMessage,
  { clock, limits }: { clock: Clock; limits: BodyLimits },
): Promise<Buffer> {
  const { bodyBytes, timeoutMs } = limits;
  const tooLarge = new SallyportError('CSR_TOO_LARGE', { limitBytes: bodyBytes });
  if (Number(request.headers['content-length'] ?? 0) > bodyBytes) return Promise.reject(tooLarge);

  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const settle = (outcome: () => void) => {
      timer.cancel();
      request.off('data', onData).off('end', onEnd).off('error', onGone).off('close', onGone);
      outcome();
    };
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      if (length > bodyBytes) return settle(() => reject(tooLarge));
      chunks.push(chunk);
    };
    const onEnd = () => settle(() => resolve(Buffer.concat(chunks)));
    const onGone = () =>
      settle(() => reject(new SallyportError('BAD_REQUEST', { problem: 'the body ended too early' })));
    const timer = clock.setTimeout(
      () => settle(() => reject(new SallyportError('REQUEST_TIMEOUT'))),
      timeoutMs,
    );
    request.on('data', onData).once('end', onEnd).once('error', onGone).once('close', onGone);
  });
}

/** True while bytes of a body may still arrive: the connection must not be used for another request then. */
export function hasUnreadBody(request: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  return !request.complete && (encoding !== undefined || Number(length ?? 0) > 0);
}
