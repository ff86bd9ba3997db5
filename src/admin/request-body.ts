import { describeError, SallyportError } from '../core/errors.ts';
import { type Content, readElements, readMembers } from '../protocol/content.ts';

/**
 * A request body: one JSON object. `content` is a message's and stays the bytes that came, also in each
 * object of `items`; the rest is parsed. @throws BAD_REQUEST
 */
export function readBody(bytes: Uint8Array): Record<string, unknown> {
  try {
    const body = readObject(bytes);
    const { items } = body;
    if (items !== undefined)
      body.items = readElements(items as Content).map(({ bytes }) => readObject(bytes));
    return body;
  } catch (cause) {
    throw new SallyportError('BAD_REQUEST', { problem: `body: ${describeError(cause)}` }, cause);
  }
}

function readObject(bytes: Uint8Array): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(readMembers(bytes))) {
    if (key === '__proto__') throw new TypeError('it has a field __proto__');
    object[key] = key === 'content' || key === 'items' ? member : member?.value;
  }
  return object;
}
