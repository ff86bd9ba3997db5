import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isSallyportError } from '../../../src/core/errors.ts';
import {
  decodeFramed,
  encodeFrame,
  encodeFramed,
  FRAME_HEADER_BYTES,
  FRAME_TYPES,
  type Frame,
  FrameDecoder,
  MAX_CONTROL_BYTES,
} from '../../../src/protocol/codec-framed.ts';
import { Content } from '../../../src/protocol/content.ts';
import { Message } from '../../../src/protocol/message.ts';
import { scaled } from '../../support/scale.ts';

const limit = { maxMessageBytes: 64 * 1024 };
const name = fc.string({ unit: 'grapheme', maxLength: 40 });
const optional = <K extends string>(key: K) =>
  name.map((value) => (value === '' ? {} : ({ [key]: value } as { [P in K]: string })));
const messages: fc.Arbitrary<Message> = fc
  .record({
    id: fc.uuid(),
    timestamp: fc.maxSafeInteger(),
    sync: fc.boolean(),
    header: fc.tuple(optional('parent_msg_id'), optional('type'), optional('resourceversion')),
    route: fc.tuple(
      optional('source'),
      optional('destination'),
      optional('group'),
      optional('operation'),
      optional('resource'),
    ),
    // -0 is the one number JSON does not keep.
    content: fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown),
  })
  .map(
    ({ id, timestamp, sync, header, route, content }) =>
      new Message(
        { msg_id: id, timestamp, ...(sync ? { sync } : {}), ...Object.assign({}, ...header) },
        Object.assign({}, ...route),
        Content.of(content),
      ),
  );

const plain = ({ header, route, content }: Message) => ({ header, route, content });

function decodeAll(decoder: FrameDecoder, chunks: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  for (const chunk of chunks) decoder.push(chunk, (frame) => frames.push(frame));
  return frames;
}

test('any message survives the wire, however its bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(messages, { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(400), { maxLength: 12 }),
      (sent, cuts) => {
        const bytes = Buffer.concat(sent.map(encodeFramed));
        const chunks: Uint8Array[] = [];
        let from = 0;
        for (const cut of cuts) {
          chunks.push(bytes.subarray(from, from + cut));
          from = Math.min(bytes.length, from + cut);
        }
        chunks.push(bytes.subarray(from));
        const decoder = new FrameDecoder(limit);
        const frames = decodeAll(decoder, chunks);
        expect(frames.map((frame) => plain(decodeFramed(frame.payload)))).toEqual(sent.map(plain));
        expect(decoder.bufferedBytes).toBe(0);
      },
    ),
    { numRuns: scaled(300, 50) },
  );
});

test("the bytes are viaduct's: header 1.1.1, fields by number, sint64 zigzag", () => {
  const frame = encodeFramed(
    new Message(
      { msg_id: 'a', timestamp: 1, sync: true, resourceversion: '5' },
      { source: 's', group: 'g', operation: 'o', resource: 'r' },
      Content.of('OK'),
    ),
  );
  expect(Buffer.from(frame).toString('hex')).toBe(
    [
      '01010100',
      '01',
      '00',
      '00000020',
      '0a0a' + '0a0161' + '1802' + '2001' + '320135',
      '120c' + '0a0173' + '120167' + '1a016f' + '220172',
      '1a04' + '224f4b22',
    ].join(''),
  );
});

test('content bytes that are not JSON become a string', () => {
  const frame = Buffer.from(encodeFramed(new Message({ msg_id: 'a', timestamp: 1 }, {}, Content.of('OK'))));
  frame[frame.length - 1] = 0x21;
  expect(decodeFramed(frame.subarray(FRAME_HEADER_BYTES)).content).toBe('"OK!');
});

test('I15: an empty protobuf is refused as an invalid message', () => {
  expect(() => decodeFramed(new Uint8Array())).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }));
});

test('I15: __proto__ in content pollutes nothing', () => {
  const content = Content.check(Buffer.from('{"__proto__":{"polluted":true}}'));
  const message = new Message({ msg_id: 'a', timestamp: 1 }, {}, content);
  expect(decodeFramed(encodeFramed(message).subarray(FRAME_HEADER_BYTES)).content).toBeTypeOf('object');
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('I15: random and mutated payloads give a message or MESSAGE_INVALID, never another error', () => {
  const mutated = fc
    .tuple(messages, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }), fc.nat(40))
    .map(([message, changes, cut]) => {
      const bytes = Uint8Array.from(encodeFramed(message).subarray(FRAME_HEADER_BYTES));
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes.subarray(0, Math.max(0, bytes.length - cut));
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 400 })), (payload) => {
      try {
        decodeFramed(payload);
      } catch (error) {
        if (!isSallyportError(error, 'MESSAGE_INVALID')) throw error;
      }
    }),
    { numRuns: scaled(3_000, 50) },
  );
});

test('I4: a hostile length is refused at the header, with nothing kept', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: limit.maxMessageBytes + 1, max: 2 ** 32 - 1 }),
      fc.nat(9),
      (length, split) => {
        const header = Buffer.from(encodeFrame(FRAME_TYPES.message, new Uint8Array()));
        header.writeUInt32BE(length, 6);
        const decoder = new FrameDecoder(limit);
        decodeAll(decoder, [header.subarray(0, split)]);
        const rest = Buffer.concat([header.subarray(split), Buffer.alloc(1000)]);
        expect(() => decodeAll(decoder, [rest])).toThrow(
          expect.objectContaining({ code: 'MESSAGE_TOO_LARGE' }),
        );
        expect(decoder.bufferedBytes).toBeLessThanOrEqual(FRAME_HEADER_BYTES);
        expect(() => decodeAll(decoder, [rest])).toThrow(
          expect.objectContaining({ code: 'MESSAGE_TOO_LARGE' }),
        );
      },
    ),
  );
});

test('I4: a control frame may not be larger than 16 KiB, whatever the message limit', () => {
  const frame = encodeFrame(FRAME_TYPES.hello, Buffer.alloc(MAX_CONTROL_BYTES + 1));
  expect(() => decodeAll(new FrameDecoder(limit), [frame])).toThrow(
    expect.objectContaining({ code: 'MESSAGE_TOO_LARGE' }),
  );
});

test('I15: another version, a compressed frame and random bytes end in MESSAGE_INVALID or MESSAGE_TOO_LARGE', () => {
  const compressed = Buffer.from(encodeFrame(FRAME_TYPES.message, Buffer.from('x')));
  compressed[5] = 0x80;
  expect(() => decodeAll(new FrameDecoder(limit), [compressed])).toThrow(
    expect.objectContaining({ code: 'MESSAGE_INVALID' }),
  );
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), (chunks) => {
      const decoder = new FrameDecoder(limit);
      try {
        decodeAll(decoder, chunks);
      } catch (error) {
        if (!isSallyportError(error, 'MESSAGE_INVALID', 'MESSAGE_TOO_LARGE')) throw error;
      }
      expect(decoder.bufferedBytes).toBeLessThanOrEqual(limit.maxMessageBytes + FRAME_HEADER_BYTES);
    }),
    { numRuns: scaled(1_000, 50) },
  );
});
