import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { keyWeakness, parsePrivateKey } from '../../../../src/certs/x509/private-key.ts';
import { isSallyportError } from '../../../../src/core/errors.ts';
import { scaled } from '../../../support/scale.ts';

const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const what = 'cakeydata of secret casecret';

const der = (key: KeyObject, type: 'sec1' | 'pkcs8' | 'pkcs1') =>
  key.export({ type: type as 'pkcs8', format: 'der' });
const armour = (label: string, bytes: Uint8Array) =>
  Buffer.from(
    `-----BEGIN ${label}-----\n${Buffer.from(bytes)
      .toString('base64')
      .replace(/.{64}/g, '$&\n')}\n-----END ${label}-----\n`,
  );

describe('A7: reads every form of key', () => {
  const forms: [string, KeyObject, Uint8Array][] = [
    ['SEC1 DER, P-256', p256, der(p256, 'sec1')],
    ['PKCS#8 DER, P-256', p256, der(p256, 'pkcs8')],
    ['SEC1 DER, P-384', p384, der(p384, 'sec1')],
    ['PKCS#8 DER, P-384', p384, der(p384, 'pkcs8')],
    ['PKCS#8 DER, RSA', rsa, der(rsa, 'pkcs8')],
    ['PKCS#1 DER, RSA', rsa, der(rsa, 'pkcs1')],
    ['SEC1 PEM', p256, armour('EC PRIVATE KEY', der(p256, 'sec1'))],
    ['PKCS#8 PEM', p384, armour('PRIVATE KEY', der(p384, 'pkcs8'))],
    ['PKCS#1 PEM', rsa, armour('RSA PRIVATE KEY', der(rsa, 'pkcs1'))],
    ['SEC1 under the label of PKCS#8', p256, armour('PRIVATE KEY', der(p256, 'sec1'))],
    ['PKCS#8 under the label of SEC1', p256, armour('EC PRIVATE KEY', der(p256, 'pkcs8'))],
    ['PKCS#8 under any label', rsa, armour('MY KEY', der(rsa, 'pkcs8'))],
    [
      'PEM after curve parameters, with Windows line ends',
      p256,
      Buffer.from(
        Buffer.concat([
          armour('EC PARAMETERS', Buffer.from('06082a8648ce3d030107', 'hex')),
          armour('EC PRIVATE KEY', der(p256, 'sec1')),
        ])
          .toString()
          .replaceAll('\n', '\r\n'),
      ),
    ],
  ];
  test.each(forms)('%s', (_, key, bytes) => {
    expect(parsePrivateKey(bytes, what).equals(key)).toBe(true);
  });
});

describe('A7: says precisely why a key cannot be used', () => {
  const cipher = { cipher: 'aes-256-cbc', passphrase: 'secret' } as const;
  const weak = (type: 'P-224' | 'secp256k1') =>
    der(generateKeyPairSync('ec', { namedCurve: type }).privateKey, 'pkcs8');
  const rsa1024 = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
  const cases: [string, Uint8Array, string, RegExp][] = [
    [
      'encrypted PKCS#8 PEM',
      Buffer.from(p256.export({ type: 'pkcs8', format: 'pem', ...cipher })),
      'KEY_ENCRYPTED',
      /is encrypted/,
    ],
    [
      'encrypted PKCS#8 DER',
      p256.export({ type: 'pkcs8', format: 'der', ...cipher }),
      'KEY_ENCRYPTED',
      /is encrypted/,
    ],
    [
      'encrypted SEC1 PEM',
      Buffer.from(p256.export({ type: 'sec1', format: 'pem', ...cipher })),
      'KEY_ENCRYPTED',
      /is encrypted/,
    ],
    ['P-224', weak('P-224'), 'KEY_TOO_WEAK', /EC secp224r1/],
    ['secp256k1', weak('secp256k1'), 'KEY_TOO_WEAK', /EC secp256k1/],
    ['RSA 1024', der(rsa1024, 'pkcs1'), 'KEY_TOO_WEAK', /RSA 1024 bit/],
    ['Ed25519', der(generateKeyPairSync('ed25519').privateKey, 'pkcs8'), 'KEY_TOO_WEAK', /ed25519/],
    ['nothing', new Uint8Array(), 'KEY_UNREADABLE', /it is empty/],
    ['text', Buffer.from('hello'), 'KEY_UNREADABLE', /neither SEC1 nor PKCS#8/],
    ['a certificate alone', armour('CERTIFICATE', Buffer.from([0x30, 0])), 'KEY_UNREADABLE', /holds no key/],
    [
      'two keys',
      Buffer.concat([armour('PRIVATE KEY', der(p256, 'pkcs8')), armour('PRIVATE KEY', der(p384, 'pkcs8'))]),
      'KEY_UNREADABLE',
      /holds 2 keys/,
    ],
    ['DER that is cut off', der(p256, 'sec1').subarray(0, 60), 'KEY_UNREADABLE', /damaged SEC1/],
    [
      'PEM that is cut off',
      armour('PRIVATE KEY', der(p256, 'pkcs8')).subarray(0, 120),
      'KEY_UNREADABLE',
      /cut off/,
    ],
  ];
  test.each(cases)('%s', (_, bytes, code, message) => {
    expect(() => parsePrivateKey(bytes, what)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
    expect(() => parsePrivateKey(bytes, what)).toThrow(what);
  });
});

test('D4: knows weak public keys too', () => {
  expect(keyWeakness(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)).toBe('RSA 1024 bit');
  expect(keyWeakness(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)).toBeUndefined();
});

test('I15: whatever the bytes, the answer is a key or one of our errors', () => {
  const samples = [der(p256, 'sec1'), der(p256, 'pkcs8'), armour('PRIVATE KEY', der(p256, 'pkcs8'))];
  const mutated = fc
    .tuple(
      fc.constantFrom(...samples),
      fc.array(fc.tuple(fc.nat(250), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    )
    .map(([sample, changes]) => {
      const bytes = Buffer.from(sample);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes;
    });
  const cut = fc
    .tuple(fc.constantFrom(...samples), fc.nat(250))
    .map(([sample, at]) => Buffer.from(sample).subarray(0, at));
  const header = fc.uint8Array({ maxLength: 40 }).map((rest) => Buffer.concat([Buffer.from([0x30]), rest]));
  fc.assert(
    fc.property(fc.oneof(mutated, cut, header, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      try {
        return keyWeakness(parsePrivateKey(bytes, what)) === undefined;
      } catch (error) {
        return isSallyportError(error, 'KEY_UNREADABLE', 'KEY_ENCRYPTED', 'KEY_TOO_WEAK');
      }
    }),
    { numRuns: scaled(2_000, 50) },
  );
});
