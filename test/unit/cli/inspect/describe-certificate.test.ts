import { expect, test } from 'vitest';
import { describeCertificate } from '../../../../src/cli/inspect/describe-certificate.ts';
import { judgeChain } from '../../../../src/cli/inspect/inspect-chain.ts';
import { mint, mintCa, mintEdge, mintServer, OID } from '../../../support/pki/pki.ts';

const DAY_MS = 86_400_000;
const now = Date.UTC(2026, 5, 1);
const life = { notBefore: new Date(now - 30 * DAY_MS), notAfter: new Date(now + 70 * DAY_MS) };

test('everything an operator asks of a certificate is in its description', async () => {
  const ca = await mintCa();
  const server = await mintServer(ca, { ...life, serial: '0abc' });
  const shown = describeCertificate(server.certificate, now);
  expect(shown).toMatchObject({
    subject: 'CN=sallyport',
    issuer: 'CN=KubeEdge',
    serial: '0ABC',
    sha256: server.sha256,
    key: 'EC prime256v1',
    isCa: false,
    names: ['localhost', '127.0.0.1', '::1'],
    keyUsages: ['digitalSignature'],
    extendedKeyUsages: ['serverAuth'],
    notBefore: life.notBefore.toISOString(),
    notAfter: life.notAfter.toISOString(),
    daysLeft: 70,
    lifeUsed: 0.3,
    selfSigned: false,
    warnings: [],
  });
  expect(shown.authorityKeyId).toBe(describeCertificate(ca.certificate, now).subjectKeyId);
});

test("C2: what is peculiar about KubeEdge's own CA is a warning", async () => {
  const ca = await mintCa({ keyIdentifiers: false, crlSign: false });
  const { warnings, isCa, selfSigned } = describeCertificate(ca.certificate, Date.now());
  expect([isCa, selfSigned]).toEqual([true, true]);
  expect(warnings.join('\n')).toContain('without a key identifier');
  expect(warnings.join('\n')).toContain('may not sign a CRL');
});

test.each([
  ['expired', { notAfter: new Date(now - 1000), notBefore: new Date(now - DAY_MS) }, /^it expired at/],
  [
    'not begun',
    { notBefore: new Date(now + 1000), notAfter: new Date(now + DAY_MS) },
    /^it is not valid before/,
  ],
  [
    'nearly over',
    { notBefore: new Date(now - 95 * DAY_MS), notAfter: new Date(now + 5 * DAY_MS) },
    /nine tenths of its life/,
  ],
  ['without names', { ...life, usages: [OID.serverAuth] }, /without names/],
  [
    'very long',
    { ...life, notAfter: new Date(now + 900 * DAY_MS), names: ['a'], usages: [OID.serverAuth] },
    /825 days/,
  ],
])('a certificate that is %s has its warning', async (_what, options, warning) => {
  const issuer = await mintCa();
  const { certificate } = await mint({ issuer, ...options });
  expect(describeCertificate(certificate, now).warnings).toEqual([expect.stringMatching(warning)]);
});

test('C2: a chain is held against each CA by itself, at its dates, for the name that was dialled', async () => {
  const [ca, twin] = await Promise.all([
    mintCa({ keyIdentifiers: false }),
    mintCa({ keyIdentifiers: false }),
  ]);
  const server = await mintServer(twin, { keyIdentifiers: false });
  const at = Date.now();
  const judge = (host: string, anchors = [ca.certificate, twin.certificate], when = at) =>
    judgeChain([server.certificate], { anchors, host, now: when });
  expect(judge('localhost')).toMatchObject({ ok: true, text: expect.stringContaining(twin.sha256) });
  expect(judge('127.0.0.1').ok).toBe(true);
  expect(judge('hub.example')).toEqual({ ok: false, text: 'it does not name hub.example' });
  expect(judge('localhost', [ca.certificate]).text).toContain('leads to no CA given');
  expect(judge('localhost', undefined, at + 60 * DAY_MS).text).toContain('is not valid now');
  const edge = await mintEdge(ca, 'edge-1');
  expect(judgeChain([edge.certificate], { anchors: [ca.certificate], host: 'edge-1', now: at }).ok).toBe(
    false,
  );
});
