import { request } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { UpstreamAnswer, UpstreamRequest } from '../contracts/upstream-relay.ts';
import { SallyportError } from '../core/errors.ts';
import type { CloudCore } from './cloudcores.ts';
import { type DialParts, dialed } from './dial.ts';

/** CloudCore answers with a word. */
const MAX_ANSWER = 64 * 1024;

/**
 * Makes one request of a node at the HTTPS server of a CloudCore, over a connection of its own.
 * @throws UPSTREAM_UNAVAILABLE, UPSTREAM_UNTRUSTED
 */
export function ask(
  parts: DialParts,
  { cloudcore, ...asked }: UpstreamRequest & { readonly cloudcore: CloudCore },
): Promise<UpstreamAnswer> {
  const { node, signal } = asked;
  return dialed(parts, { node, cloudcore, to: 'https', signal }, (stream, { signal }) =>
    answerOn(stream, { ...asked, cloudcore, signal }),
  );
}

async function answerOn(
  stream: TLSSocket,
  { cloudcore, method, path, body, signal }: UpstreamRequest & { readonly cloudcore: CloudCore },
): Promise<UpstreamAnswer> {
  const address = cloudcore.httpsAddress!;
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    const call = request({
      createConnection: () => stream,
      method,
      path,
      headers: {
        host: address,
        connection: 'close',
        ...(body ? { 'content-type': 'application/json', 'content-length': body.length } : {}),
      },
      signal,
    });
    const answered = Promise.withResolvers<UpstreamAnswer>();
    call.on('error', answered.reject).on('response', (response) => {
      response.on('error', answered.reject).on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_ANSWER) response.destroy(new Error('its answer is too large'));
        else chunks.push(chunk);
      });
      response.on('end', () =>
        answered.resolve({ status: response.statusCode ?? 502, body: Buffer.concat(chunks) }),
      );
    });
    call.end(body);
    return await answered.promise;
  } catch (cause) {
    signal.throwIfAborted();
    const problem = (cause as Error).message;
    throw new SallyportError('UPSTREAM_UNAVAILABLE', { address, problem }, cause);
  } finally {
    stream.destroy();
  }
}
