import { expect, test } from 'vitest';
import { parseAdvertisedNames } from '../../../../src/certs/x509/advertised-names.ts';

test('B2: names become DNS names, IPs become IP addresses, empty ones are ignored', () => {
  expect(parseAdvertisedNames(['lb.example.com', '10.0.0.1', 'fd00::1', '', '  '])).toEqual({
    dns: ['lb.example.com'],
    ips: ['10.0.0.1', 'fd00::1'],
  });
});

test('B2: two spellings of one address are one', () => {
  expect(parseAdvertisedNames(['LB.example.com', 'lb.example.com.', 'FD00:0::1', '[fd00::1]'])).toEqual({
    dns: ['lb.example.com'],
    ips: ['fd00::1'],
  });
});

test('B2: what is neither a name nor an IP address is refused, and named', () => {
  for (const address of [
    'https://lb.example.com',
    'lb.example.com:10002',
    '10.0.0.256',
    'fe80::1%eth0',
    'a b',
    '-x',
    'x..y',
    `${'a'.repeat(64)}.example.com`,
    'a\0b',
    'a.*.b',
  ])
    expect(() => parseAdvertisedNames(['ok', address]), address).toThrow(
      expect.objectContaining({
        code: 'ADDRESS_INVALID',
        message: expect.stringContaining(JSON.stringify(address)),
      }),
    );
});

test('B2: no address at all is refused', () => {
  for (const none of [[], ['', ' ']])
    expect(() => parseAdvertisedNames(none)).toThrow(expect.objectContaining({ code: 'ADDRESS_INVALID' }));
});
