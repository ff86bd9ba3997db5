import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { PeerGate, type PeerGateComponents } from '../../../src/identity/peer-gate.ts';
import type { ShutOut } from '../../../src/identity/revocation-reasons.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import {
  asCaCertificate,
  hugeRsaKey,
  type mint,
  mintCa,
  mintEdge,
  OID,
  type Pair,
  unknownCriticalExtension,
} from '../../support/pki/pki.ts';

const stolen: ShutOut = { word: 'revoked', text: 'stolen' };

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 5, 1);
const around = { notBefore: new Date(NOW - 100 * DAY), notAfter: new Date(NOW + 100 * DAY) };
let ca: Pair;

beforeAll(async () => {
  ca = await mintCa({ ...around });
});

function gateFor(
  cas: readonly Pair[],
  options: {
    allowLegacy?: boolean;
    legacyNodes?: Record<string, string>;
    isRevoked?: PeerGateComponents['isRevoked'];
    clock?: ManualClock;
  } = {},
) {
  const trust = { value: cas.map(asCaCertificate) };
  const clock = options.clock ?? new ManualClock(NOW);
  const live = { allowLegacy: options.allowLegacy ?? false, legacyNodes: options.legacyNodes ?? {} };
  const gate = new PeerGate(
    { trust: () => trust.value, clock, ...(options.isRevoked ? { isRevoked: options.isRevoked } : {}) },
    () => live,
  );
  return { gate, trust, clock, live };
}

const edge = (node = 'edge-1', options: Parameters<typeof mint>[0] = {}) =>
  mintEdge(options.issuer ?? ca, node, { ...around, ...options });

describe('who is let in', () => {
  test('accepts a certificate of the trusted CA and reads everything from it', async () => {
    const pair = await edge();
    const verdict = gateFor([ca]).gate.check(pair.certificate);
    expect(verdict).toEqual({
      ok: true,
      identity: {
        nodeName: 'edge-1',
        legacy: false,
        certificate: {
          serial: pair.certificate.serialNumber,
          sha256: pair.sha256,
          issuerSha256: ca.sha256,
          issuer: 'CN=KubeEdge',
          notBefore: around.notBefore.getTime(),
          notAfter: around.notAfter.getTime(),
        },
      },
    });
  });

  test('C2: verifies against each of two CAs of the same name and serial without key identifiers', async () => {
    const same = { ...around, serial: '0400', keyIdentifiers: false };
    const [oldCa, newCa, rogue] = [await mintCa(same), await mintCa(same), await mintCa(same)];
    const { gate } = gateFor([oldCa, newCa]);
    for (const issuer of [oldCa, newCa]) {
      const verdict = gate.check((await edge('edge-1', { issuer, keyIdentifiers: false })).certificate);
      expect(verdict).toMatchObject({ ok: true, identity: { certificate: { issuerSha256: issuer.sha256 } } });
    }
    const verdict = gate.check((await edge('edge-1', { issuer: rogue, keyIdentifiers: false })).certificate);
    expect(verdict).toMatchObject({ ok: false, reason: 'unknown-ca' });
  });

  test('accepts a chain over an intermediate that the peer sent, and nothing when it is missing or no CA', async () => {
    const { gate } = gateFor([ca]);
    const middle = await mintCa({ ...around, subject: 'CN=middle', issuer: ca });
    const leaf = await edge('edge-1', { issuer: middle });
    expect(gate.check(leaf.certificate)).toMatchObject({ ok: false, reason: 'unknown-ca' });
    expect(gate.check(leaf.certificate, [middle.certificate])).toMatchObject({
      ok: true,
      identity: { certificate: { issuerSha256: ca.sha256 } },
    });
    const notCa = await edge('edge-2');
    const forged = await edge('victim', { issuer: notCa });
    expect(gate.check(forged.certificate, [notCa.certificate])).toMatchObject({ reason: 'unknown-ca' });
  });

  test('an expired intermediate ends the chain, also when its signature was verified before', async () => {
    const { gate, clock } = gateFor([ca]);
    const middle = await mintCa({
      ...around,
      subject: 'CN=middle',
      issuer: ca,
      notAfter: new Date(NOW + DAY),
    });
    const leaf = await edge('edge-1', { issuer: middle });
    expect(gate.check(leaf.certificate, [middle.certificate]).ok).toBe(true);
    await clock.advance(2 * DAY);
    expect(gate.check(leaf.certificate, [middle.certificate])).toMatchObject({ reason: 'expired' });
  });
});

describe('who is refused, and what they are told', () => {
  test('G2: nobody without a certificate', () => {
    expect(gateFor([ca]).gate.check(undefined)).toMatchObject({ ok: false, reason: 'no-certificate' });
  });

  test('L2, I14: what a stranger calls itself is told as a claim for the log, and is no identity', async () => {
    const rogue = await mintCa({ ...around, subject: 'CN=rogue' });
    const verdict = gateFor([ca]).gate.check((await edge('victim', { issuer: rogue })).certificate);
    expect(verdict).toMatchObject({
      ok: false,
      reason: 'unknown-ca',
      claimedNode: 'victim',
      facts: { presentedIssuer: 'CN=rogue', expectedIssuersSha256: [ca.sha256] },
    });
    expect(verdict).not.toHaveProperty('nodeVerified');
    expect(verdict).not.toHaveProperty('identity');
  });

  test('F3: an expired certificate is reported as "node X, expired D days ago" with the clock of the hub', async () => {
    const pair = await edge('edge-9', { notAfter: new Date(NOW - 3 * DAY - 5_000) });
    const verdict = gateFor([ca]).gate.check(pair.certificate);
    expect(verdict).toMatchObject({
      ok: false,
      reason: 'expired',
      claimedNode: 'edge-9',
      nodeVerified: true,
      facts: { hubTime: expect.any(Number), notAfter: expect.any(Number) },
    });
    expect(verdict).toHaveProperty(
      'detail',
      expect.stringMatching(
        /^node edge-9, expired 3 days ago, at 2026-05-28T.*hub says 2026-06-01T00:00:00Z$/,
      ),
    );
  });

  test('a certificate that begins later is not valid yet', async () => {
    const pair = await edge('edge-1', { notBefore: new Date(NOW + 60_000) });
    expect(gateFor([ca]).gate.check(pair.certificate)).toMatchObject({
      reason: 'not-yet-valid',
      claimedNode: 'edge-1',
      detail: expect.stringContaining('2026-06-01T00:01:00Z'),
    });
  });

  test('dates are never cached: an accepted certificate is refused once it has expired', async () => {
    const { gate, clock } = gateFor([ca]);
    const pair = await edge('edge-1', { notAfter: new Date(NOW + 10_000) });
    expect(gate.check(pair.certificate).ok).toBe(true);
    await clock.advance(11_000);
    expect(gate.check(pair.certificate)).toMatchObject({ reason: 'expired' });
  });

  test('an expired CA refuses its edges, unless another trusted CA of the same key is in its time', async () => {
    const oldCa = await mintCa({ ...around, notAfter: new Date(NOW - DAY) });
    const pair = await edge('edge-1', { issuer: oldCa });
    expect(gateFor([oldCa]).gate.check(pair.certificate)).toMatchObject({ reason: 'expired' });
    const renewed = await mintCa({ ...around, key: oldCa.key });
    expect(gateFor([oldCa, renewed]).gate.check(pair.certificate).ok).toBe(true);
  });

  test.each([
    ['serverAuth only', [OID.serverAuth]],
    ['no extended key usage', []],
    ['anyExtendedKeyUsage', ['2.5.29.37.0']],
  ])('%s is the wrong usage', async (_, usages) => {
    const pair = await edge('edge-1', { usages });
    expect(gateFor([ca]).gate.check(pair.certificate)).toMatchObject({
      reason: 'wrong-usage',
      claimedNode: 'edge-1',
    });
  });

  test('a CA certificate is not a client certificate, the trusted CA itself included', async () => {
    const { gate } = gateFor([ca]);
    const sub = await edge('edge-1', { isCa: true });
    expect(gate.check(sub.certificate)).toMatchObject({ reason: 'wrong-usage' });
    expect(gate.check(ca.certificate).ok).toBe(false);
  });

  test('G7: of a certificate that is revoked and has expired, or lost its CA, it is said that it is revoked', async () => {
    let revoked: ShutOut | undefined = stolen;
    const pair = await edge();
    const late = new ManualClock(around.notAfter.getTime() + 1);
    const { gate } = gateFor([ca], { isRevoked: () => revoked, clock: late });
    expect(gate.check(pair.certificate)).toMatchObject({ reason: 'revoked', claimedNode: 'edge-1' });
    expect(gate.checkCertificate(pair.certificate)).toMatchObject({ reason: 'revoked' });
    revoked = undefined;
    expect(gate.check(pair.certificate)).toMatchObject({ reason: 'expired' });
    expect(gate.checkCertificate(pair.certificate)).toMatchObject({ reason: 'expired' });

    const open = gateFor([ca], { isRevoked: () => revoked });
    const verdict = open.gate.check(pair.certificate);
    if (!verdict.ok) throw new Error(verdict.detail);
    open.trust.value = [];
    expect(open.gate.stillTrusted(verdict.identity)).toMatchObject({ reason: 'unknown-ca' });
    revoked = stolen;
    expect(open.gate.stillTrusted(verdict.identity)).toMatchObject({ reason: 'revoked' });
  });

  test('G7: a serial is revoked also of a certificate that names no node', async () => {
    const seen: string[] = [];
    const { gate } = gateFor([ca], {
      isRevoked: ({ nodeName }) => {
        seen.push(nodeName);
        return stolen;
      },
    });
    const old = await edge('x', { subject: 'O=KubeEdge,CN=kubeedge.io' });
    expect(gate.check(old.certificate)).toMatchObject({ reason: 'revoked' });
    expect(seen).toEqual(['']);
  });

  test('a revoked certificate is refused with the reason, asked each time', async () => {
    let revoked: ShutOut | undefined;
    const { gate } = gateFor([ca], {
      isRevoked: (peer) => (peer.nodeName === 'edge-1' ? revoked : undefined),
    });
    const pair = await edge();
    expect(gate.check(pair.certificate).ok).toBe(true);
    revoked = stolen;
    expect(gate.check(pair.certificate)).toMatchObject({
      reason: 'revoked',
      detail: 'node edge-1, revoked: stolen',
    });
  });

  test('whatever throws inside is a refusal', async () => {
    const pair = await edge();
    const explode = () => {
      throw new Error('no');
    };
    expect(gateFor([ca], { isRevoked: explode }).gate.check(pair.certificate).ok).toBe(false);
    const gate = new PeerGate({ trust: explode, clock: new ManualClock(NOW) }, explode);
    expect(gate.check(pair.certificate).ok).toBe(false);
    expect(gate.check({} as never).ok).toBe(false);
  });

  test('a CA that is damaged, no CA, or not what its fingerprint says trusts nobody', async () => {
    const pair = await edge();
    const clock = new ManualClock(NOW);
    const options = () => ({ allowLegacy: false, legacyNodes: {} });
    for (const one of [
      { pem: 'garbage', sha256: ca.sha256 },
      { pem: ca.pem, sha256: '00' },
      { pem: pair.pem, sha256: pair.sha256 },
    ]) {
      const gate = new PeerGate({ trust: () => [one], clock }, options);
      expect(gate.check(pair.certificate)).toMatchObject({ reason: 'unknown-ca' });
    }
  });
});

describe('D7: subjects', () => {
  const refused: [string, string, string][] = [
    ['no CN', 'O=system:nodes', 'no-node-name'],
    ['no O', 'CN=system:node:edge-1', 'no-node-name'],
    ['another O', 'O=system:masters,CN=system:node:edge-1', 'no-node-name'],
    ['two O', 'O=system:nodes,O=system:nodes,CN=system:node:edge-1', 'malformed-certificate'],
    ['two CN', 'O=system:nodes,CN=system:node:a,CN=system:node:b', 'malformed-certificate'],
    ['a multi-valued RDN', 'O=system:nodes+CN=system:node:edge-1', 'malformed-certificate'],
    ['NUL in the CN', 'O=system:nodes,CN=system:node:edge-1\0.evil', 'malformed-certificate'],
    ['a line break in the CN', 'O=system:nodes,CN=system:node:a\nCN=system:node:b', 'malformed-certificate'],
    ['a Cyrillic e', 'O=system:nodes,CN=system:node:еdge-1', 'no-node-name'],
    ['an invisible character', 'O=system:nodes,CN=system:node:edge\u200b-1', 'malformed-certificate'],
    ['right-to-left override', 'O=system:nodes,CN=system:node:\u202eedge', 'malformed-certificate'],
    ['upper case', 'O=system:nodes,CN=system:node:Edge-1', 'no-node-name'],
    ['an empty name', 'O=system:nodes,CN=system:node:', 'no-node-name'],
    ['a path', 'O=system:nodes,CN=system:node:../x', 'no-node-name'],
    ['an administrator', 'O=sallyport:admins,CN=admin', 'no-node-name'],
  ];
  test.each(refused)('D7: %s is refused', async (_, subject, reason) => {
    const pair = await edge('x', { subject });
    const verdict = gateFor([ca], { allowLegacy: true }).gate.check(pair.certificate, [], 'victim');
    expect(verdict).toMatchObject({ ok: false, reason });
  });

  test('extra RDNs as KubeEdge writes them are ignored', async () => {
    const pair = await edge('x', {
      subject: 'C=CN,O=system:nodes,L=Hangzhou,ST=Zhejiang,CN=system:node:edge-1',
    });
    expect(gateFor([ca]).gate.check(pair.certificate)).toMatchObject({ identity: { nodeName: 'edge-1' } });
  });
});

describe('D6: certificates that name no node', () => {
  const legacy = (options = {}) => edge('x', { subject: 'O=KubeEdge,CN=kubeedge.io', ...options });

  test.each(['KubeEdge', 'kubeEdge'])('O=%s is refused by default, even with a claimed name', async (o) => {
    const pair = await legacy({ subject: `O=${o},CN=kubeedge.io` });
    expect(gateFor([ca]).gate.check(pair.certificate, [], 'edge-1')).toMatchObject({
      reason: 'legacy-certificate',
      detail: expect.stringContaining(pair.certificate.serialNumber),
    });
  });

  test('allowLegacy believes the claimed name when it is a node name, and needs one', async () => {
    const pair = await legacy();
    const { gate } = gateFor([ca], { allowLegacy: true });
    expect(gate.check(pair.certificate, [], 'edge-7')).toMatchObject({
      identity: { nodeName: 'edge-7', legacy: true },
    });
    for (const claim of [undefined, '', 'Edge 7', 'a/b'])
      expect(gate.check(pair.certificate, [], claim)).toMatchObject({ reason: 'legacy-certificate' });
  });

  test('a mapped serial is its node, whatever is claimed, in any spelling of the serial', async () => {
    const pair = await legacy({ serial: '0a1b2c' });
    for (const serial of ['0A1B2C', '0a1b2c', 'a:1b:2c', 'A1B2C']) {
      const { gate } = gateFor([ca], { legacyNodes: { [serial]: 'edge-3' } });
      expect(gate.check(pair.certificate, [], 'victim')).toMatchObject({
        identity: { nodeName: 'edge-3', legacy: true },
      });
    }
  });

  test('a claimed name never overrides the one in a certificate', async () => {
    const { gate } = gateFor([ca], { allowLegacy: true });
    expect(gate.check((await edge('edge-1')).certificate, [], 'victim')).toMatchObject({
      identity: { nodeName: 'edge-1' },
    });
  });
});

describe('open sessions', () => {
  test('are trusted no longer when their CA is removed, they expire, or are revoked', async () => {
    let revoked: ShutOut | undefined;
    const { gate, trust, clock } = gateFor([ca], { isRevoked: () => revoked });
    const verdict = gate.check((await edge('edge-1', { notAfter: new Date(NOW + DAY) })).certificate);
    if (!verdict.ok) throw new Error(verdict.detail);
    expect(gate.stillTrusted(verdict.identity)).toBeUndefined();
    revoked = stolen;
    expect(gate.stillTrusted(verdict.identity)).toMatchObject({ reason: 'revoked' });
    revoked = undefined;
    const other = await mintCa({ ...around });
    trust.value = [asCaCertificate(other)];
    expect(gate.stillTrusted(verdict.identity)).toMatchObject({
      reason: 'unknown-ca',
      claimedNode: 'edge-1',
    });
    trust.value = [asCaCertificate(other), asCaCertificate(ca)];
    expect(gate.stillTrusted(verdict.identity)).toBeUndefined();
    await clock.advance(DAY + 60_000);
    expect(gate.stillTrusted(verdict.identity)).toMatchObject({
      reason: 'expired',
      detail: expect.stringContaining('node edge-1, expired 1 minute ago'),
    });
  });

  test('stay when the CA is re-issued with the same key and name', async () => {
    const { gate, trust } = gateFor([ca]);
    const verdict = gate.check((await edge()).certificate);
    if (!verdict.ok) throw new Error(verdict.detail);
    trust.value = [asCaCertificate(await mintCa({ ...around, key: ca.key }))];
    expect(gate.stillTrusted(verdict.identity)).toBeUndefined();
  });

  test('of legacy certificates end when the permission is taken back', async () => {
    const pair = await edge('x', { subject: 'O=KubeEdge,CN=kubeedge.io' });
    const { gate, live } = gateFor([ca], { allowLegacy: true });
    const verdict = gate.check(pair.certificate, [], 'edge-1');
    if (!verdict.ok) throw new Error(verdict.detail);
    expect(gate.stillTrusted(verdict.identity)).toBeUndefined();
    live.allowLegacy = false;
    expect(gate.stillTrusted(verdict.identity)).toMatchObject({ reason: 'legacy-certificate' });
  });
});

test('checkCertificate tells the subject and nothing of nodes, with the same checks', async () => {
  const { gate } = gateFor([ca]);
  const admin = await edge('x', { subject: 'O=sallyport:admins,CN=admin' });
  expect(gate.checkCertificate(admin.certificate)).toMatchObject({
    ok: true,
    subject: 'O=sallyport:admins\nCN=admin',
  });
  const expired = await edge('x', { notAfter: new Date(NOW - DAY) });
  expect(gate.checkCertificate(expired.certificate)).toMatchObject({ ok: false, reason: 'expired' });
  expect(gate.checkCertificate(undefined)).toMatchObject({ reason: 'no-certificate' });
});

test('a signature is verified once: the second look at a certificate costs less than the first', async () => {
  const { gate } = gateFor([ca]);
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const pairs = await Promise.all(
    Array.from({ length: 50 }, (_, n) =>
      edge(`edge-${n}`, { key: key.export({ type: 'pkcs8', format: 'pem' }).toString() }),
    ),
  );
  const run = () => {
    const begin = process.cpuUsage();
    for (const pair of pairs) expect(gate.check(pair.certificate).ok).toBe(true);
    const { user, system } = process.cpuUsage(begin);
    return user + system;
  };
  const first = run();
  expect(run()).toBeLessThan(first);
});

describe('O2: what a stranger sends costs a bounded number of verifications', () => {
  /** Counts what is verified with the native library. */
  const counting = () => vi.spyOn(X509Certificate.prototype, 'verify');
  afterEach(() => vi.restoreAllMocks());

  test('a chain of names that all fit ends with the budget, over any number of CAs', async () => {
    const cas = await Promise.all(
      Array.from({ length: 4 }, () => mintCa({ ...around, keyIdentifiers: false })),
    );
    const twins = await Promise.all(
      Array.from({ length: 4 }, () => mintCa({ ...around, keyIdentifiers: false })),
    );
    const leaf = await edge('edge-1', { issuer: twins[3]!, keyIdentifiers: false });
    const verify = counting();
    const verdict = gateFor(cas).gate.check(
      leaf.certificate,
      twins.map(({ certificate }) => certificate),
    );
    expect(verdict).toMatchObject({ ok: false, reason: 'unknown-ca' });
    expect(verify.mock.calls.length).toBeLessThanOrEqual(10);
  });

  test('who was refused once is refused again without a verification', async () => {
    const { gate } = gateFor([ca]);
    const leaf = await edge('edge-1', { issuer: await mintCa(around) });
    const none: X509Certificate[] = [];
    gate.check(leaf.certificate, none);
    const verify = counting();
    expect(gate.check(leaf.certificate, none)).toMatchObject({ ok: false, reason: 'unknown-ca' });
    expect(verify).not.toHaveBeenCalled();
  });

  test.each<[string, string, () => Promise<Pair>]>([
    ['a key of RSA 16384', 'unsupported-key', () => edge('edge-1', { rsaPublicKey: hugeRsaKey(16_384) })],
    [
      'a certificate of 10,000 bytes',
      'unsupported-key',
      () =>
        edge('edge-1', { names: Array.from({ length: 400 }, (_, at) => `${'x'.repeat(20)}${at}.example`) }),
    ],
    ['SHA-1', 'weak-signature', () => edge('edge-1', { hash: 'SHA-1' })],
    [
      'a critical extension that nobody knows',
      'unknown-extension',
      () => edge('edge-1', { extensions: [unknownCriticalExtension()] }),
    ],
    [
      'a key usage without digitalSignature',
      'wrong-key-usage',
      () => edge('edge-1', { digitalSignature: false }),
    ],
  ])('O3: %s is refused as %s before anything is verified', async (_, reason, make) => {
    const pair = await make();
    const verify = counting();
    const verdict = gateFor([ca]).gate.check(pair.certificate);
    expect(verdict).toMatchObject({ ok: false, reason, claimedNode: 'edge-1' });
    expect(verify).not.toHaveBeenCalled();
  });

  test('O3: an intermediate of such a kind leads nowhere', async () => {
    const between = await mintCa({ ...around, issuer: ca, subject: 'CN=between', hash: 'SHA-1' });
    const leaf = await edge('edge-1', { issuer: between });
    expect(gateFor([ca]).gate.check(leaf.certificate, [between.certificate])).toMatchObject({
      ok: false,
      reason: 'unknown-ca',
    });
  });
});
