import { expect, test } from 'vitest';
import { textFrame } from '../../../../src/listeners/websocket/text-frame.ts';

test('a text frame in one buffer has the header of RFC 6455 for each length, and the payload as it is', () => {
  const headers = { 0: '8100', 1: '8101', 125: '817d', 126: '817e007e', 256: '817e0100', 16384: '817e4000' };
  for (const [length, header] of Object.entries(headers)) {
    const payload = Buffer.alloc(Number(length), 0xc3);
    expect(textFrame(payload)).toEqual(Buffer.concat([Buffer.from(header, 'hex'), payload]));
  }
});

test('a long payload is left to the library, which does not copy it', () => {
  expect(textFrame(Buffer.alloc(16 * 1024 + 1))).toBeUndefined();
});
