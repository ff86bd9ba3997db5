import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isSallyportError } from '../../../src/core/errors.ts';
import {
  decodeFramed,
  decodeFramedInTurns,
  encodeFramed,
  FRAME_HEADER_BYTES,
} from '../../../src/protocol/codec-framed.ts';
import { decodeJson, decodeJsonInTurns, encodeJson } from '../../../src/protocol/codec-json.ts';
import { Content, exactJson } from '../../../src/protocol/content.ts';
import { JsonScanner } from '../../../src/protocol/json-scan.ts';
import { Message } from '../../../src/protocol/message.ts';
import { SHARE_BYTES } from '../../../src/protocol/scan-in-turns.ts';
import { LARGEST_SHAPES } from '../../support/edges/largest-messages.ts';

const HEAD = '{"header":{"msg_id":"a","timestamp":1},"route":{}';
const frameOf = (content: string) => Buffer.from(`${HEAD},"content":${content}}`);

/** Content that parsing and writing again would change. */
const EXACT = [
  '9223372036854775807',
  '{"b":1,"a":2,"10":3,"2":4}',
  '[1e400,-0,1.0,1E+2,0.10]',
  '{"same":1,"same":2}',
  '"\\u00e9\\/é😀\\ud800"',
  '{ "spaced" :\t[ 1 , 2 ] }',
  '{"__proto__":{"polluted":true},"constructor":{"prototype":1}}',
];

test.each(EXACT)('N3: %s goes through both codecs, and into JSON of ours, byte for byte', (text) => {
  const message = decodeJson(frameOf(text));
  expect(Buffer.from(message.contentBytes).toString()).toBe(text);
  expect(encodeJson(message).toString()).toBe(`${HEAD},"content":${text}}\n`);
  const framed = decodeFramed(encodeFramed(message).subarray(FRAME_HEADER_BYTES));
  expect(framed.body.bytes.toString()).toBe(text);
  expect(exactJson({ outer: [message] }).toString()).toBe(`{"outer":[${HEAD},"content":${text}}]}`);
  expect(message.content).toEqual(JSON.parse(text));
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('N3: content is parsed once, and only when it is asked for', () => {
  const message = decodeJson(frameOf('{"a":[1]}'));
  expect(message.content).toBe(message.withRoute({ resource: 'x' }).content);
});

test.each([
  [`${HEAD},"route":{"resource":"b"}}`, 'route is there twice'],
  [`${HEAD},"Route":{}}`, 'a variant of its name'],
  ['{"header":{"msg_id":"a"},"route":{"source":"x","\\u0073ource":"y"}}', 'route has a field twice'],
  ['{"header":{"msg_id":"a"},"route":{"ſource":"y"}}', 'a variant of its name'],
])('I15: %s, which another parser reads differently, is refused', (text, problem) => {
  expect(() => decodeJson(Buffer.from(text))).toThrow(problem);
});

test('N2: depth, number of values and length of numbers are limited, each with its own word', () => {
  const code = (text: string) => {
    try {
      decodeJson(frameOf(text), { maxMessageDepth: 4, maxMessageValues: 20 });
      return undefined;
    } catch (error) {
      return isSallyportError(error) ? error.code : error;
    }
  };
  expect(code('[[[]]]')).toBeUndefined();
  expect(code('[[[[]]]]')).toBe('CONTENT_TOO_DEEP');
  expect(code(`[${'1,'.repeat(10)}1]`)).toBeUndefined();
  expect(code(`[${'1,'.repeat(30)}1]`)).toBe('CONTENT_TOO_MANY_VALUES');
  expect(code('1'.repeat(1_024))).toBeUndefined();
  expect(code('1'.repeat(1_025))).toBe('MESSAGE_INVALID');
});

test('N2: the scanner takes what JSON.parse takes and nothing else, and content parses to the same', () => {
  const json = fc.oneof(
    fc.json(),
    fc.jsonValue().map((value) => JSON.stringify(value, undefined, 1)),
    fc.constantFrom(...EXACT),
  );
  const snippets = fc.constantFrom(
    ...'{}[],:"\\ \n\t\r-+.eE0159truefalsn/u\u0001é',
    '\\u12',
    'null',
    '1e',
    '-',
  );
  const mutated = fc
    .tuple(json, fc.array(fc.tuple(fc.nat(), snippets, fc.nat(2)), { maxLength: 3 }))
    .map(([text, changes]) =>
      changes.reduce((now, [place, snippet, cut]) => {
        const at = place % (now.length + 1);
        return now.slice(0, at) + snippet + now.slice(at + cut);
      }, text),
    );
  fc.assert(
    fc.property(fc.oneof(json, mutated, fc.string()), (text) => {
      // Lone surrogates have no UTF-8.
      const bytes = Buffer.from(text.toWellFormed());
      const expected = attempt(() => JSON.parse(bytes.toString()) as unknown);
      const seen = attempt(() => {
        JsonScanner.ofValue(bytes).scan();
        return Content.check(bytes).value;
      });
      expect(seen).toEqual(expected);
    }),
    { numRuns: 5_000 },
  );
});

test('N2: a text in pieces of any size is judged as in one', () => {
  const text = fc.oneof(
    fc.jsonValue().map((value) => JSON.stringify(value, undefined, 1)),
    fc.constantFrom(...EXACT, '{"a":"\\u00e9\\"', '[1,]', '{"a" 1}', ' [ ] x', '"', '{}'),
  );
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 7 }), (json, share) => {
      const bytes = Buffer.from(json.toWellFormed());
      const whole = attempt(() => {
        const scanner = JsonScanner.ofObject(bytes);
        scanner.scan();
        return scanner.members;
      });
      const inPieces = attempt(() => {
        const scanner = JsonScanner.ofObject(bytes);
        while (!scanner.scan(share));
        return scanner.members;
      });
      expect(inPieces).toEqual(whole);
    }),
    { numRuns: 2_000 },
  );
});

test.each(LARGEST_SHAPES.filter(({ counted }) => counted !== 'malformed' && counted !== 'content-too-deep'))(
  'N2: $what: others get a turn at each share of it, also when two are decoded at once',
  async ({ make }) => {
    const content = Buffer.from(make(4 * SHARE_BYTES));
    const framed = encodeFramed(new Message({ msg_id: 'a', timestamp: 1 }, {}, new Content(content)));
    const decoded = Promise.all([
      decodeJsonInTurns(frameOf(content.toString())),
      decodeFramedInTurns(framed.subarray(FRAME_HEADER_BYTES)),
    ]);
    let [turns, isOver] = [0, false];
    decoded.finally(() => {
      isOver = true;
    });
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    // The first share is scanned at once.
    expect(turns).toBeGreaterThanOrEqual(2 * (Math.floor(content.length / SHARE_BYTES) - 1));
    expect((await decoded)[1].contentBytes.length).toBe(content.length);
  },
);

test('N2: a large content that is no JSON is refused, a short one is a text', async () => {
  const framed = (bytes: number) =>
    encodeFramed(
      new Message({ msg_id: 'a', timestamp: 1 }, {}, new Content(Buffer.alloc(bytes, 1))),
    ).subarray(FRAME_HEADER_BYTES);
  expect((await decodeFramedInTurns(framed(3))).content).toBe('\u0001\u0001\u0001');
  await expect(decodeFramedInTurns(framed(SHARE_BYTES + 1))).rejects.toMatchObject({
    code: 'MESSAGE_INVALID',
  });
});

test('N2: random bytes are a content or MESSAGE_INVALID', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        Content.check(bytes);
      } catch (error) {
        if (!isSallyportError(error, 'MESSAGE_INVALID')) throw error;
      }
    }),
    { numRuns: 2_000 },
  );
});

test('N2: what is under way in small pieces of large buffers is copied, so that they can be freed', () => {
  const network = Buffer.alloc(64 * 1024);
  const frame = frameOf('"x"');
  frame.copy(network);
  const message = decodeJson(network.subarray(0, frame.length));
  expect(message.body.bytes.buffer).not.toBe(network.buffer);
  expect(message.heldBytes).toBeLessThan(2_000);
});

function attempt(take: () => unknown): { readonly value: unknown } | 'refused' {
  try {
    return { value: take() };
  } catch {
    return 'refused';
  }
}
