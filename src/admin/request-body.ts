import { describeError, SallyportError } from '../core/errors.ts';
import type { Content } from '../protocol/content.ts';
import { readMembers } from '../protocol/content.ts';

/**
 * A request body: one JSON object. Its `content` is a message's and stays the bytes that came; the rest is
 * parsed. @throws BAD_REQUEST
 */
export function readBody(bytes: Uint8Array): Record<string, unknown> {
  let members: Record<string, Content | undefined>;
  try {
    members = readMembers(bytes);
  } catch (cause) {
    throw new SallyportError('BAD_REQUEST', { problem: `body: ${describeError(cause)}` }, cause);
  }
  const body: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(members)) {
    if (key === '__proto__')
      throw new SallyportError('BAD_REQUEST', { problem: 'body: has a field __proto__' });
    body[key] = key === 'content' ? member : member?.value;
  }
  return body;
}
