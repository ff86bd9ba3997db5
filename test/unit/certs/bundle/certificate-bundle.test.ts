import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type BundleParts,
  buildBundle,
  readClientTrust,
} from '../../../../src/certs/bundle/certificate-bundle.ts';
import { CertificateAuthority } from '../../../../src/certs/ca/certificate-authority.ts';
import { parseAdvertisedNames } from '../../../../src/certs/x509/advertised-names.ts';
import type { Secret } from '../../../../src/contracts/secret-store.ts';
import { mint, mintCa, mintServer, OID, type Pair } from '../../../support/pki/pki.ts';

const names = parseAdvertisedNames(['localhost', '127.0.0.1', '::1']);
let root: Pair;
let ca: CertificateAuthority;
beforeAll(async () => {
  root = await mintCa();
  ca = authority(root);
});

const authority = (pair: Pair) =>
  CertificateAuthority.fromSecret({
    name: 'casecret',
    data: { cadata: pair.der, cakeydata: Buffer.from(pair.key) },
  });
const hubSecret = (key: string, ...chain: (string | Uint8Array)[]): Secret => ({
  name: 'cloudcoresecret',
  data: {
    cloudcoredata: Buffer.concat(chain.map((one) => Buffer.from(one as string))),
    cloudcorekeydata: Buffer.from(key),
  },
});
const tlsSecret = (hub: Pair, caCrt?: string): Secret => ({
  name: 'hub-tls',
  type: 'kubernetes.io/tls',
  data: {
    'tls.crt': Buffer.from(hub.pem),
    'tls.key': Buffer.from(hub.key),
    ...(caCrt === undefined ? {} : { 'ca.crt': Buffer.from(caCrt) }),
  },
});
const build = (parts: Partial<BundleParts> & Pick<BundleParts, 'hub'>) =>
  buildBundle({ ca, trust: [], names, now: Date.now(), ...parts });

describe('A8: intermediates', () => {
  test('are served after the leaf, in the order of the chain, roots left out', async () => {
    const upper = await mintCa({ subject: 'CN=upper', issuer: root });
    const lower = await mintCa({
      subject: 'CN=lower',
      issuer: upper,
      notAfter: new Date(Date.now() + 86_400_000),
    });
    const leaf = await mintServer(lower);
    const { server, notAfter } = build({
      hub: hubSecret(leaf.key, leaf.pem, upper.pem, lower.pem, root.pem),
    });
    expect(server.cert).toBe(leaf.pem + lower.pem + upper.pem);
    expect(server.sha256).toBe(leaf.sha256);
    expect(notAfter).toEqual(lower.certificate.validToDate);
  });

  test('that are missing or expired make the chain invalid', async () => {
    const middle = await mintCa({ subject: 'CN=middle', issuer: root });
    const leaf = await mintServer(middle);
    expect(() => build({ hub: hubSecret(leaf.key, leaf.pem) })).toThrow(
      /issued by CN=middle, not by CN=KubeEdge/,
    );
    const old = await mintCa({ subject: 'CN=old', issuer: root, notAfter: new Date(Date.now() - 1000) });
    const below = await mintServer(old);
    expect(() => build({ hub: hubSecret(below.key, below.pem, old.pem) })).toThrow(/CN=old expired at/);
  });

  test('C1: one that is cross-signed by an older CA is served, so that edges which know only that one verify', async () => {
    const older = await mintCa({ keyIdentifiers: false });
    const cross = await mintCa({ issuer: older, key: root.key, keyIdentifiers: false });
    const leaf = await mintServer(root);
    expect(build({ hub: hubSecret(leaf.key, leaf.pem, cross.pem) }).server.cert).toBe(leaf.pem + cross.pem);
  });

  test('cannot be an ordinary certificate that signs', async () => {
    const notCa = await mint({ subject: 'CN=not-a-ca', issuer: root, usages: [OID.serverAuth] });
    const leaf = await mintServer(notCa);
    expect(() => build({ hub: hubSecret(leaf.key, leaf.pem, notCa.pem) })).toThrow(
      expect.objectContaining({
        code: 'BUNDLE_INVALID',
        details: expect.objectContaining({ reason: 'wrong-ca' }),
      }),
    );
  });

  test('that sign each other in a circle lead nowhere, and do not hang', async () => {
    const a = await mintCa({ subject: 'CN=a' });
    const b = await mintCa({ subject: 'CN=b', issuer: a });
    const aAgain = await mintCa({ subject: 'CN=a', issuer: b, key: a.key });
    const leaf = await mintServer(b);
    expect(() => build({ hub: hubSecret(leaf.key, leaf.pem, b.pem, aAgain.pem, b.pem) })).toThrow(/not by/);
  });
});

describe('A9: a kubernetes.io/tls Secret', () => {
  test('is read like KubeEdge’s', async () => {
    const leaf = await mintServer(root);
    expect(build({ hub: tlsSecret(leaf, root.pem) }).server.cert).toBe(leaf.pem);
  });

  test('B6: of a wrong CA is refused even when it brings that CA along', async () => {
    const other = await mintCa({ subject: 'CN=other' });
    const hub = tlsSecret(await mintServer(other), other.pem);
    expect(() => build({ hub })).toThrow(/issued by CN=other/);
    expect(build({ hub, trust: [other.certificate] }).ca.sha256).toBe(root.sha256);
  });

  test('finds the link to the CA in ca.crt', async () => {
    const middle = await mintCa({ subject: 'CN=middle', issuer: root });
    const leaf = await mintServer(middle);
    expect(build({ hub: tlsSecret(leaf, middle.pem + root.pem) }).server.cert).toBe(leaf.pem + middle.pem);
  });
});

test('C2: of two CAs with one name and one serial, the one that signed is found by its signature', async () => {
  const [one, two] = await Promise.all([
    mintCa({ serial: '0400', keyIdentifiers: false }),
    mintCa({ serial: '0400', keyIdentifiers: false }),
  ]);
  for (const [mine, other] of [
    [one, two],
    [two, one],
  ] as const) {
    const leaf = await mintServer(mine, { keyIdentifiers: false });
    const parts = { trust: [other.certificate], hub: hubSecret(leaf.key, leaf.der) };
    expect(build({ ...parts, ca: authority(mine) }).server.sha256).toBe(leaf.sha256);
    expect(() => build({ ...parts, ca: authority(other) })).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ reason: 'wrong-ca' }) }),
    );
  }
});

describe('the fingerprint', () => {
  test('is equal for equal parts in any order and encoding, and differs when any part does', async () => {
    const [x, y] = await Promise.all([mintCa({ subject: 'CN=x' }), mintCa({ subject: 'CN=y' })]);
    const leaf = await mintServer(root);
    const base = build({
      hub: hubSecret(leaf.key, leaf.pem),
      trust: [x.certificate, y.certificate],
    }).fingerprint;
    const same = build({
      hub: tlsSecret(leaf),
      trust: [y.certificate, x.certificate, y.certificate],
    }).fingerprint;
    expect(same).toBe(base);
    expect(base).toMatch(/^[0-9a-f]{64}$/);
    const sameKey = await mintServer(root, { key: leaf.key });
    const others = [
      build({ hub: hubSecret(leaf.key, leaf.pem), trust: [x.certificate] }),
      build({ hub: hubSecret(sameKey.key, sameKey.pem), trust: [x.certificate, y.certificate] }),
    ];
    for (const { fingerprint } of others) expect(fingerprint).not.toBe(base);
  });
});

test('names of the certificate are told as addresses are written, wildcards cover one label', async () => {
  const leaf = await mintServer(root, { names: ['*.example.com', 'localhost', '10.0.0.1', 'fd00:0:0::1'] });
  const hub = hubSecret(leaf.key, leaf.pem);
  const wanted = parseAdvertisedNames(['edge.example.com', 'fd00::1', '*.example.com']);
  expect(build({ hub, names: wanted }).server.names).toEqual([
    '*.example.com',
    'localhost',
    '10.0.0.1',
    'fd00::1',
  ]);
  expect(() => build({ hub, names: parseAdvertisedNames(['a.b.example.com']) })).toThrow(
    /does not name a\.b\.example\.com/,
  );
});

test('a CA that is not yet valid or expired makes no bundle', async () => {
  const leaf = await mintServer(root);
  const hub = hubSecret(leaf.key, leaf.pem);
  const { validFromDate, validToDate } = new X509Certificate(root.pem);
  for (const now of [validFromDate.getTime() - 1, validToDate.getTime()])
    expect(() => build({ hub, now })).toThrow(/expired|not valid before/);
});

test('A8: every CA of the CA Secret is trusted, the first is handed out', async () => {
  const further = await mintCa({ subject: 'CN=further' });
  const both = CertificateAuthority.fromSecret({
    name: 'casecret',
    data: { cadata: Buffer.from(root.pem + further.pem), cakeydata: Buffer.from(root.key) },
  });
  const leaf = await mintServer(root);
  const bundle = build({ ca: both, hub: hubSecret(leaf.key, leaf.pem) });
  expect(bundle.ca.sha256).toBe(root.sha256);
  expect(bundle.clientCAs.map(({ sha256 }) => sha256)).toEqual([root.sha256, further.sha256]);
});

test('a trust Secret with one bad value among good ones is refused whole, and the value is named', async () => {
  const data = { good: root.der, bad: Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n') };
  expect(() => readClientTrust({ name: 'sallyport-trust', data })).toThrow(
    /sallyport-trust is not usable: bad is not/,
  );
  expect(readClientTrust(undefined)).toEqual([]);
});
