import { scaled } from '../../../support/scale.ts';
import 'reflect-metadata';
import { generateKeyPairSync } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { readCsr } from '../../../../src/certs/enrolment/csr.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { ecKeys, makeCsr, rsaKeys } from '../../../support/pki/csr.ts';

const read = (csr: Uint8Array) => readCsr(csr, { forbiddenKeys: [] });
const problem = (csr: Uint8Array): string => {
  try {
    read(csr);
  } catch (error) {
    expect(error).toBeInstanceOf(SallyportError);
    expect((error as SallyportError).code).toBe('CSR_INVALID');
    expect((error as SallyportError).status).toBe(400);
    return (error as SallyportError).message;
  }
  return 'accepted';
};

let good: Buffer;
beforeAll(async () => {
  good = await makeCsr();
});

/**
 * A request assembled by hand: a good one with its public key or signature exchanged for one of the same
 * length.
 */
function patched(csr: Buffer, from: Uint8Array, to: Uint8Array): Buffer {
  const at = csr.indexOf(from);
  expect(at).toBeGreaterThan(0);
  expect(to.length).toBe(from.length);
  return Buffer.concat([csr.subarray(0, at), to, csr.subarray(at + from.length)]);
}

const spki = (key: { export(o: { type: 'spki'; format: 'der' }): Buffer }) =>
  key.export({ type: 'spki', format: 'der' });

test('reads EC P-256, P-384 and RSA 2048 requests, DER and PEM, and hands over the key as SPKI', async () => {
  for (const keys of [ecKeys('P-256'), ecKeys('P-384'), rsaKeys(2048)]) {
    const csr = await makeCsr({ keys });
    expect(Buffer.from(read(csr).publicKey)).toEqual(spki(keys.publicKey));
    const pem = new x509.Pkcs10CertificateRequest(csr).toString('pem');
    expect(Buffer.from(read(Buffer.from(pem)).publicKey)).toEqual(spki(keys.publicKey));
    expect(Buffer.from(read(Buffer.from(`\n${pem}\n`)).publicKey)).toEqual(spki(keys.publicKey));
  }
});

test('D1: reads the node a subject names, ignores C, L and ST, and takes old KubeEdge subjects as naming none', async () => {
  expect(read(good).namedNode).toBe('edge-1');
  const named = async (subject: string) => read(await makeCsr({ subject })).namedNode;
  expect(await named('O=kubeEdge, CN=kubeedge.io')).toBeUndefined();
  expect(await named('C=CN, O=KubeEdge, L=Hangzhou, ST=Zhejiang, CN=kubeedge.io')).toBeUndefined();
  expect(await named('CN=system:node:edge-2')).toBe('edge-2');
});

test('D1, D7: a subject that hides another node is never taken for this node nor for a generic one', async () => {
  for (const subject of [
    'CN=SYSTEM:NODE:edge-2',
    'CN=system:node:edge-1, CN=system:node:edge-2',
    'CN=kubeedge.io, CN=system:node:edge-2',
    'CN=kubeedge.io+CN=system:node:edge-2',
    'CN=system:node:Edge-1',
    'CN=system:node:edge-1\u0000.evil',
    'CN=system:node:edge-１',
    'CN=\\ system:node:edge-2',
    'CN=system:node:',
  ]) {
    const { namedNode } = read(await makeCsr({ subject }));
    expect(namedNode, subject).toBeDefined();
    expect(namedNode, subject).not.toBe('edge-1');
  }
});

test('D2: SANs, CA:TRUE, usages and the rest of a request are dropped: only key and node name come out', async () => {
  const csr = await makeCsr({
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'hub.example.com' }]),
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ],
  });
  expect(Object.keys(read(csr)).sort()).toEqual(['namedNode', 'publicKey']);
});

test('D3: a request whose signature does not verify is refused', async () => {
  const mine = ecKeys();
  const theirs = ecKeys();
  const stolen = patched(await makeCsr({ keys: mine }), spki(mine.publicKey), spki(theirs.publicKey));
  expect(problem(stolen)).toContain('its signature does not verify');
  const renamed = patched(good, Buffer.from('edge-1'), Buffer.from('edge-2'));
  expect(problem(renamed)).toContain('its signature does not verify');
});

test('D4: weak and unusual keys are refused, each with what is wrong', async () => {
  expect(problem(await makeCsr({ keys: rsaKeys(1024) }))).toContain('RSA 1024 bit');
  expect(problem(await makeCsr({ keys: rsaKeys(2048, 3) }))).toContain('exponent 3');
  const asCsr = await makeCsr();
  // The subject public key info of another kind of key, in a request of adjusted length.
  for (const [key, words] of [
    [generateKeyPairSync('ec', { namedCurve: 'secp224r1' }).publicKey, 'EC secp224r1'],
    [generateKeyPairSync('ec', { namedCurve: 'secp521r1' }).publicKey, 'EC secp521r1'],
    [generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey, 'EC secp256k1'],
    [generateKeyPairSync('ed25519').publicKey, 'ed25519'],
    [
      generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).publicKey,
      'explicit curve parameters',
    ],
  ] as const) {
    const info = asn(asCsr).tbs.map((part, index) => (index === 2 ? spki(key) : part));
    expect(problem(sequence(sequence(...info), ...asn(asCsr).rest))).toContain(words);
  }
  const one = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
  const info = asn(asCsr).tbs.map((part, index) => (index === 2 ? rsaSpki(one.n!, 1) : part));
  expect(problem(sequence(sequence(...info), ...asn(asCsr).rest))).toContain('exponent 1');
});

test('D4: a key equal to that of the CA or the hub is refused', async () => {
  const keys = ecKeys();
  const csr = await makeCsr({ keys });
  expect(() => readCsr(csr, { forbiddenKeys: [ecKeys().publicKey, keys.publicKey] })).toThrow(
    'its key belongs to the hub or its CA',
  );
  expect(() => readCsr(csr, { forbiddenKeys: [ecKeys().publicKey] })).not.toThrow();
});

test('D9: an empty body, trailing bytes, a cut request and a huge one are 400', () => {
  expect(() => read(Buffer.alloc(0))).toThrow(expect.objectContaining({ code: 'CSR_MISSING', status: 400 }));
  expect(problem(Buffer.concat([good, Buffer.from([0])]))).toContain('something follows it');
  expect(problem(good.subarray(0, -1))).toContain('cut off');
  expect(problem(Buffer.alloc(64 * 1024, 0x30))).toContain('larger than');
  expect(problem(Buffer.from('-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n'))).toContain('PEM');
});

test('I15: whatever bytes arrive, the answer is a SallyportError', () => {
  const never = (bytes: Uint8Array) => {
    try {
      read(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(SallyportError);
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), never), { numRuns: scaled(2_000, 50) });
  fc.assert(
    fc.property(
      fc.nat(good.length - 1),
      fc.integer({ min: 0, max: 255 }),
      fc.nat(good.length - 1),
      (at, value, second) => {
        const bytes = Buffer.from(good);
        bytes[at] = value;
        bytes[second] = value ^ 0xff;
        never(bytes);
      },
    ),
    { numRuns: scaled(3_000, 50) },
  );
  // Nesting as deep as the limit allows.
  for (const depth of [100, 1_000, 4_000]) {
    let bytes: Buffer = Buffer.alloc(0);
    for (let level = 0; level < depth && bytes.length < 16_000; level++) bytes = sequence(bytes);
    never(bytes);
  }
});

function sequence(...parts: Uint8Array[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

function tagged(tag: number, body: Buffer): Buffer {
  const length = body.length;
  const header =
    length < 128
      ? [tag, length]
      : length < 256
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(header), body]);
}

/**
 * The parts of a request: version, subject, key and attributes of what is signed; then algorithm and
 * signature.
 */
function asn(csr: Buffer): { tbs: Buffer[]; rest: Buffer[] } {
  const [info, ...rest] = children(csr);
  return { tbs: children(info!), rest };
}

function children(der: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = headerOf(der, 0).start; at < der.length; ) {
    const { end } = headerOf(der, at);
    parts.push(der.subarray(at, end));
    at = end;
  }
  return parts;
}

function headerOf(der: Buffer, at: number): { start: number; end: number } {
  const first = der[at + 1]!;
  const octets = first < 128 ? 0 : first & 0x7f;
  const length = octets === 0 ? first : der.readUIntBE(at + 2, octets);
  const start = at + 2 + octets;
  return { start, end: start + length };
}

function rsaSpki(modulus: string, exponent: number): Buffer {
  const n = Buffer.concat([Buffer.from([0]), Buffer.from(modulus, 'base64url')]);
  const key = sequence(tagged(2, n), tagged(2, Buffer.from([exponent])));
  const rsaEncryption = Buffer.from('06092a864886f70d0101010500', 'hex');
  return sequence(sequence(rsaEncryption), tagged(3, Buffer.concat([Buffer.from([0]), key])));
}
