import { createCipheriv, createDecipheriv } from 'node:crypto';
import { expect, test } from 'vitest';
import { connectionRefused, serverInitialKeys } from '../../../../src/listeners/quic/connection-refused.ts';
import { readLongHeader } from '../../../../src/listeners/quic/quic-packet.ts';

const bytes = (hex: string) => Buffer.from(hex, 'hex');

test('the keys of a server are those of RFC 9001, appendix A.1', () => {
  expect(serverInitialKeys(bytes('8394c8f03e515708'))).toEqual({
    key: bytes('cf3a5331653c364c88f0f379b6067e37'),
    iv: bytes('0ac1493ca1905853b0bba03e'),
    hp: bytes('c206b8d9b9f0f37644430b490eeaa314'),
  });
});

test('a refusal opens with the keys of the connection ID that the client chose, says why, and is short', () => {
  const [chosen, own] = ['\x01\x02\x03\x04\x05\x06\x07\x08', 'client'];
  const question = { version: 1, isInitial: true, isRetry: false, destination: chosen, source: own };
  const reason = 'TryAgainLater: limit: '.padEnd(200, 'x');
  const answer = connectionRefused(question, reason);
  expect(answer.length).toBeLessThan(300);
  const header = readLongHeader(answer)!;
  expect(header).toMatchObject({ version: 1, isInitial: true, destination: own, source: chosen });

  const { key, iv, hp } = serverInitialKeys(Buffer.from(chosen, 'latin1'));
  const at = 7 + own.length + chosen.length + 3;
  const mask = createCipheriv('aes-128-ecb', hp, null).update(answer.subarray(at + 4, at + 20));
  const aad = Buffer.from(answer.subarray(0, at + 1));
  aad[0]! ^= mask[0]! & 0x0f;
  aad[at]! ^= mask[1]!;
  expect([aad[0], aad[at]]).toEqual([0xc0, 0]);
  const open = createDecipheriv('aes-128-gcm', key, iv).setAAD(aad).setAuthTag(answer.subarray(-16));
  const frame = Buffer.concat([open.update(answer.subarray(at + 1, -16)), open.final()]);
  // CONNECTION_CLOSE, CONNECTION_REFUSED, no frame type, the length of the reason in two bytes.
  expect([...frame.subarray(0, 5)]).toEqual([0x1c, 2, 0, 0x40, 200]);
  expect(frame.subarray(5).toString()).toBe(reason);
});
