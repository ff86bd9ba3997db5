import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CidrList, readProxyHeader } from '../../../src/listeners/proxy-protocol.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const v2 = (hex: string) => Buffer.from(SIGNATURE + hex.replaceAll(' ', ''), 'hex');

test.each([
  ['PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\nrest', '203.0.113.7', 42],
  ['PROXY TCP6 2001:db8::7 ::1 4711 443\r\n', '2001:db8::7', 37],
  ['PROXY UNKNOWN\r\n', undefined, 15],
  ['PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n', undefined, 59],
])('H5: reads %j of version 1', (text, address, length) => {
  expect(readProxyHeader(Buffer.from(text))).toEqual({ kind: 'complete', address, length });
});

test.each([
  ['TCP over IPv4', v2('21 11 000c cb007107 0a000001 1267 01bb'), '203.0.113.7', 28],
  [
    'TCP over IPv6',
    v2(`21 21 0024 20010db8000000000000000000000007 ${'00'.repeat(15)}01 1267 01bb`),
    '2001:db8::7',
    52,
  ],
  [
    'IPv4 mapped into IPv6',
    v2(`21 21 0024 00000000000000000000ffffcb007107 ${'00'.repeat(15)}01 1267 01bb`),
    '203.0.113.7',
    52,
  ],
  ['LOCAL', v2('20 00 0000'), undefined, 16],
  ['TLVs behind the addresses', v2('21 11 000f cb007107 0a000001 1267 01bb 040000'), '203.0.113.7', 31],
])('H5: reads version 2, %s', (_, data, address, length) => {
  expect(readProxyHeader(data)).toEqual({ kind: 'complete', address, length });
});

test.each([
  'GET / HTTP/1.1\r\n',
  'PROXY TCP4 2001:db8::7 10.0.0.1 1 2\r\n',
  'PROXY TCP4 203.0.113.7 10.0.0.1 1 65536\r\n',
  'PROXY TCP4 203.0.113.7 10.0.0.1 1 2 3\r\n',
  'PROXY SCTP 203.0.113.7 10.0.0.1 1 2\r\n',
  `PROXY TCP4 ${' '.repeat(120)}`,
  '\x16\x03\x01',
])('H5: %j is no header', (text) => {
  expect(readProxyHeader(Buffer.from(text, 'latin1'))).toEqual({ kind: 'invalid' });
});

test('H5: a version 2 header that claims too much or another version is invalid', () => {
  expect(readProxyHeader(v2('21 11 ffff'))).toEqual({ kind: 'invalid' });
  expect(readProxyHeader(v2('31 11 000c cb007107 0a000001 1267 01bb'))).toEqual({ kind: 'invalid' });
  expect(readProxyHeader(v2('21 11 0004 cb007107'))).toEqual({ kind: 'invalid' });
});

test('H5: every beginning of a header is incomplete, and no bytes make it throw', () => {
  for (const whole of [Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n'), v2('20 00 0000')]) {
    for (let length = 0; length < whole.length; length++)
      expect(readProxyHeader(whole.subarray(0, length))).toEqual({ kind: 'incomplete' });
  }
  const start = fc.constantFrom(Buffer.from('PROXY '), Buffer.from(SIGNATURE, 'hex'), Buffer.alloc(0));
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 200 }), (prefix, data) => {
      expect(['complete', 'incomplete', 'invalid']).toContain(
        readProxyHeader(Buffer.concat([prefix, data])).kind,
      );
    }),
  );
});

test('H5: a CIDR list holds networks and single addresses, and refuses what is neither', () => {
  const list = new CidrList(['10.0.0.0/8', '192.0.2.1', '2001:db8::/32']);
  for (const inside of ['10.1.2.3', '192.0.2.1', '2001:db8::5']) expect(list.has(inside)).toBe(true);
  for (const outside of ['11.0.0.1', '192.0.2.2', '2001:db9::1', '']) expect(list.has(outside)).toBe(false);
  expect(new CidrList([]).has('10.0.0.1')).toBe(false);
  for (const wrong of ['x', '10.0.0.0/33', '10.0.0.0/8/8', '::/129', '10.0.0.0/', '10.0.0.0/-1'])
    expect(() => new CidrList([wrong])).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
});
