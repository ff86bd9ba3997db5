import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { parseCertificates } from '../../../../src/certs/x509/certificate-chain.ts';
import { isSallyportError } from '../../../../src/core/errors.ts';
import { mintCa, mintServer, type Pair } from '../../../support/pki/pki.ts';
import { scaled } from '../../../support/scale.ts';

let ca: Pair;
let server: Pair;
beforeAll(async () => {
  ca = await mintCa();
  server = await mintServer(ca);
});

const fingerprints = (bytes: Uint8Array) =>
  parseCertificates(bytes, 'a test').map(({ fingerprint256 }) => fingerprint256);
const both = () => [server.certificate.fingerprint256, ca.certificate.fingerprint256];

test('A8: reads one certificate and whole chains, DER and PEM, in their order', () => {
  expect(fingerprints(server.der)).toEqual([server.certificate.fingerprint256]);
  expect(fingerprints(Buffer.from(server.pem))).toEqual([server.certificate.fingerprint256]);
  expect(fingerprints(Buffer.concat([server.der, ca.der]))).toEqual(both());
  expect(fingerprints(Buffer.from(`leaf:\n${server.pem}\nthe root:\r\n${ca.pem}`))).toEqual(both());
});

test('A8: leaves out a key that stands among the certificates', () => {
  expect(fingerprints(Buffer.from(server.key + server.pem + ca.pem))).toEqual(both());
});

test.each<[string, () => string | Uint8Array, RegExp]>([
  ['nothing', () => '', /it is empty/],
  ['a key alone', () => server.key, /holds no certificate/],
  ['text', () => 'hello', /neither DER nor PEM/],
  ['DER that is cut off', () => server.der.subarray(0, 100), /cut off/],
  ['PEM that is cut off', () => server.pem.slice(0, 300), /cut off/],
  [
    'a chain with one broken',
    () => server.pem + ca.pem.replace(/\n.{10}/, '\nAAAAAAAAAA'),
    /number 2 in a test/,
  ],
])('names what is wrong with %s', (_, bytes, message) => {
  expect(() => parseCertificates(Buffer.from(bytes() as string), 'a test')).toThrow(
    expect.objectContaining({ code: 'CERTIFICATE_UNREADABLE', message: expect.stringMatching(message) }),
  );
});

test('I15: whatever the bytes, the answer is certificates or CERTIFICATE_UNREADABLE', () => {
  const samples = [server.der, Buffer.from(server.pem), Buffer.concat([server.der, ca.der])];
  const mutated = fc
    .tuple(
      fc.constantFrom(...samples),
      fc.array(fc.tuple(fc.nat(900), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    )
    .map(([sample, changes]) => {
      const bytes = Buffer.from(sample);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      try {
        return parseCertificates(bytes, 'a test').length > 0;
      } catch (error) {
        return isSallyportError(error, 'CERTIFICATE_UNREADABLE');
      }
    }),
    { numRuns: scaled(2_000, 50) },
  );
});
