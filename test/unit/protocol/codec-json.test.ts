import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isSallyportError } from '../../../src/core/errors.ts';
import { decodeJson, encodeJson } from '../../../src/protocol/codec-json.ts';
import { createMessage, createResponse } from '../../../src/protocol/message.ts';
import { scaled } from '../../support/scale.ts';

const decode = (text: string) => decodeJson(Buffer.from(text));
const keepalive =
  '{"header":{"msg_id":"a","timestamp":1795466360546},"route":{"source":"websocket","group":"resource","operation":"keepalive","resource":"node"},"content":"ping"}\n';

describe('JSON codec', () => {
  test('writes what Go writes: empty fields left out, one line, a newline at the end', () => {
    expect(encodeJson(decode(keepalive)).toString()).toBe(keepalive);
  });

  test('an answer keeps the route and names its parent', () => {
    const question = createMessage(
      { source: 'edged', group: 'resource', operation: 'update', resource: 'default/pod/p' },
      {},
      { now: 5, sync: true },
    );
    const answer = createResponse(question, 'OK', { now: 6 });
    expect(answer.header.parent_msg_id).toBe(question.header.msg_id);
    expect(answer.route).toEqual({ ...question.route, operation: 'response' });
  });

  test.each([
    '',
    'null',
    '[]',
    '3',
    '{}',
    '{"header":null,"route":{}}',
    '{"header":{"msg_id":5},"route":{}}',
    '{"header":{"msg_id":""},"route":{}}',
    '{"header":{"msg_id":"a","timestamp":1.5},"route":{}}',
    '{"header":{"msg_id":"a"},"route":[]}',
    '{"header":{"msg_id":"a"},"route":{"resource":{}}}',
  ])('I15: refuses %s with MESSAGE_INVALID', (text) => {
    expect(() => decode(text)).toThrowError(expect.objectContaining({ code: 'MESSAGE_INVALID' }));
  });

  test('I15: whatever arrives, it is a message or MESSAGE_INVALID, and __proto__ reaches no prototype', () => {
    const json = fc.oneof(
      fc.string(),
      fc.json(),
      fc.object({ withNullPrototype: true }).map((value) => JSON.stringify({ header: value, route: value })),
    );
    fc.assert(
      fc.property(json, (text) => {
        try {
          decode(text);
        } catch (error) {
          expect(isSallyportError(error, 'MESSAGE_INVALID')).toBe(true);
        }
      }),
      { numRuns: scaled(2_000, 50) },
    );
    decode('{"header":{"msg_id":"a","timestamp":1},"route":{},"__proto__":{"polluted":1}}');
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

test('I15: valid JSON that nests too deeply to be sent on is refused, long strings full of brackets are not', () => {
  const nested = (depth: number) =>
    `{"header":{"msg_id":"a"},"route":{},"content":${'['.repeat(depth)}${']'.repeat(depth)}}`;
  expect(() => decode(nested(3_000))).toThrow(expect.objectContaining({ code: 'CONTENT_TOO_DEEP' }));
  expect(() => encodeJson(decode(nested(900)))).not.toThrow();
  const brackets = JSON.stringify(`\\"${'['.repeat(5_000)}"`);
  const text = `{"header":{"msg_id":"a"},"route":{},"content":[${brackets},${brackets}]}`;
  expect(decode(text).content).toHaveLength(2);
});
