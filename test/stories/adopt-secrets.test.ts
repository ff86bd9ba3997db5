import { type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type DetailedPeerCertificate } from 'node:tls';
import { beforeEach, describe, expect, test } from 'vitest';
import { EdgeCoreSocket, goGet, joinAsEdgeCore, renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { servedCertificate } from '../support/edges/serving.ts';
import { eventually } from '../support/eventually.ts';
import { readCa, writeCaSecret, writeSecret } from '../support/fleets/secret-files.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { kubeEdgeToken } from '../support/pki/kubeedge-token.ts';
import { type CaKind, mintCaOf } from '../support/pki/other-cas.ts';
import { mintCa, mintEdge, mintServer, type Pair } from '../support/pki/pki.ts';
import { mintRsaServer } from '../support/pki/rsa.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
const file = (name: string) => readFileSync(join(folder, `${name}.yaml`), 'utf8');

/** A node joins and connects: the CA in use can do all that is asked of it. */
async function joins(hub: TestGateway, node = 'edge-1'): Promise<X509Certificate> {
  const { answer, credentials } = await joinAsEdgeCore(hub.port('https'), {
    node,
    token: await hub.nodeToken(node),
  });
  expect(answer.status, answer.body.toString('latin1').slice(0, 200)).toBe(200);
  const edge = await EdgeCoreSocket.open(hub.port('websocket'), node, credentials);
  edge.keepalive();
  edge.socket.close();
  return new X509Certificate(answer.body);
}

describe('a CA Secret that was there before', () => {
  const pem = (label: string, der: Buffer) =>
    `-----BEGIN ${label}-----\n${der
      .toString('base64')
      .replace(/(.{64})/g, '$1\n')
      .trimEnd()}\n-----END ${label}-----\n`;
  const sec1 = (key: KeyObject) => key.export({ type: 'sec1', format: 'der' });
  const pkcs8 = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'der' });
  const forms: [string, CaKind, 'der' | 'pem', (key: KeyObject) => Buffer | string][] = [
    ['SEC1 DER, as KubeEdge writes it', 'EC P-256', 'der', sec1],
    ['PKCS#8 DER', 'EC P-384', 'der', pkcs8],
    ['SEC1 in PEM', 'EC P-256', 'pem', (key) => pem('EC PRIVATE KEY', sec1(key))],
    ['PKCS#8 in PEM under another label', 'EC P-256', 'pem', (key) => pem('EC PRIVATE KEY', pkcs8(key))],
    ['RSA 2048, PKCS#8 DER', 'RSA 2048', 'der', pkcs8],
    [
      'RSA 2048, PKCS#1 PEM',
      'RSA 2048',
      'pem',
      (key) => key.export({ type: 'pkcs1', format: 'pem' }).toString(),
    ],
  ];
  test.each(forms)(
    'A7: with its key as %s (%s) is adopted as it is, and serves',
    async (_, kind, form, write) => {
      const ca = await mintCaOf(kind);
      writeSecret(folder, 'casecret', { cadata: form === 'der' ? ca.der : ca.pem, cakeydata: write(ca.key) });
      const before = file('casecret');
      await using hub = await startTestGateway({ folder });
      expect((await goGet(hub.port('https'), '/ca.crt')).body.equals(ca.der)).toBe(true);
      const issuer = new X509Certificate(ca.der);
      expect((await joins(hub)).verify(issuer.publicKey)).toBe(true);
      expect((await servedCertificate(hub.port('websocket'))).verify(issuer.publicKey)).toBe(true);
      expect(file('casecret')).toBe(before);
    },
  );

  test('A7: an encrypted key stops the start, says so, and nothing is written', async () => {
    const ca = await mintCaOf('EC P-256');
    writeSecret(folder, 'casecret', {
      cadata: ca.der,
      cakeydata: ca.key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }),
    });
    const before = file('casecret');
    await expect(startTestGateway({ folder })).rejects.toMatchObject({
      code: 'KEY_ENCRYPTED',
      message: 'cakeydata of secret casecret is encrypted',
    });
    expect(file('casecret')).toBe(before);
    expect(() => file('cloudcoresecret')).toThrow('ENOENT');
  });

  test('E4: edges, tokens and hub certificate of a KubeEdge cluster go on as they were', async () => {
    const ca = await mintCa({ serial: '0400', keyIdentifiers: false });
    const theirs = await mintServer(ca, { notAfter: new Date(Date.now() + 100 * 364 * 86_400_000) });
    writeCaSecret(folder, ca);
    writeSecret(folder, 'cloudcoresecret', {
      cloudcoredata: theirs.der,
      cloudcorekeydata: theirs.privateKey.export({ type: 'sec1', format: 'der' }),
    });
    const token = kubeEdgeToken(ca, Date.now() + 20 * 3_600_000);
    writeSecret(folder, 'tokensecret', { tokendata: token });
    const before = [file('casecret'), file('tokensecret')];
    await using hub = await startTestGateway({ folder });
    const node = await mintEdge(ca, 'edge-old');
    const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-old', {
      ca: ca.pem,
      cert: node.pem,
      key: node.key,
    });
    edge.socket.close();
    const { answer } = await joinAsEdgeCore(hub.port('https'), { node: 'edge-new', token });
    expect(answer.status).toBe(200);
    expect([file('casecret'), file('tokensecret')]).toEqual(before);
  });
});

describe('the hub certificate', () => {
  test.each([
    ['signed by another CA', async () => mintServer(await mintCa())],
    [
      'expired',
      async (ca: Pair) =>
        mintServer(ca, {
          notBefore: new Date(Date.now() - 172_800_000),
          notAfter: new Date(Date.now() - 60_000),
        }),
    ],
  ] as [string, (ca: Pair) => Promise<Pair>][])(
    'A4: stored %s: issued anew before anything listens; refused when somebody else keeps it',
    async (_, make) => {
      const ca = await mintCa();
      writeCaSecret(folder, ca);
      const bad = await make(ca);
      const put = () =>
        writeSecret(folder, 'cloudcoresecret', {
          cloudcoredata: bad.der,
          cloudcorekeydata: bad.privateKey.export({ type: 'sec1', format: 'der' }),
        });
      put();
      const before = file('cloudcoresecret');
      await expect(
        startTestGateway({ folder, settings: { 'certificates.hubSecretManaged': 'false' } }),
      ).rejects.toMatchObject({ code: 'BUNDLE_INVALID' });
      expect(file('cloudcoresecret')).toBe(before);
      await using hub = await startTestGateway({ folder });
      const served = await servedCertificate(hub.port('websocket'));
      expect(served.serialNumber).not.toBe(bad.certificate.serialNumber);
      expect(served.verify(ca.certificate.publicKey)).toBe(true);
    },
  );

  test('A8: intermediates are loaded whole and served, and every CA of a trust bundle is accepted', async () => {
    const root = await mintCa({ subject: 'CN=Root' });
    const middle = await mintCa({ subject: 'CN=Intermediate', issuer: root });
    const hubPair = await mintServer(middle);
    const [other, third] = [await mintCa(), await mintCa()];
    writeCaSecret(folder, root);
    writeSecret(folder, 'cloudcoresecret', {
      cloudcoredata: hubPair.pem + middle.pem,
      cloudcorekeydata: hubPair.key,
    });
    writeSecret(folder, 'sallyport-trust', { 'bundle.crt': other.pem + third.pem });
    await using hub = await startTestGateway({
      folder,
      settings: { 'certificates.hubSecretManaged': 'false' },
    });
    for (const name of ['https', 'websocket', 'admin'] as const) {
      const chain = await verifiedChain(hub.port(name), root.pem);
      expect(chain).toEqual(['sallyport', 'Intermediate', 'Root']);
    }
    // Both are named CN=KubeEdge, as every CA of KubeEdge is.
    for (const [index, ca] of [root, other, third].entries()) {
      const node = await mintEdge(ca, `edge-${index}`);
      const edge = await EdgeCoreSocket.open(hub.port('websocket'), `edge-${index}`, {
        ca: root.pem,
        cert: node.pem,
        key: node.key,
      });
      edge.socket.close();
    }
  });

  test('A9: a kubernetes.io/tls Secret of cert-manager is followed and never written, even near its end', async () => {
    const ca = await mintCa();
    writeCaSecret(folder, ca);
    const put = (pair: Pair) =>
      writeSecret(
        folder,
        'cloudcoresecret',
        { 'tls.crt': pair.pem, 'tls.key': pair.key, 'ca.crt': ca.pem },
        'kubernetes.io/tls',
      );
    const first = await mintServer(ca, { notAfter: new Date(Date.now() + 3_600_000) });
    put(first);
    const before = file('cloudcoresecret');
    await using hub = await startTestGateway({ folder, settings: { 'certificates.checkMs': '100' } });
    const served = async () => (await servedCertificate(hub.port('websocket'))).serialNumber;
    expect(await served()).toBe(first.certificate.serialNumber);
    // By the default part of its life it would be due at once were it ours.
    await expect(hub.admin.post('/api/v1/certificates/hub/rotate')).rejects.toThrow();
    expect(file('cloudcoresecret')).toBe(before);
    const second = await mintServer(ca);
    put(second);
    await eventually(
      'the new one is served',
      async () => (await served()) === second.certificate.serialNumber,
    );
    const after = file('cloudcoresecret');
    put(await mintServer(ca, { names: ['elsewhere.example'] }));
    const wrong = file('cloudcoresecret');
    await eventually('the mistake is reported', async () => {
      const { problem } = await hub.admin.get<{ problem?: string }>('/api/v1/certificates');
      return problem !== undefined;
    });
    expect(await served()).toBe(second.certificate.serialNumber);
    expect(file('cloudcoresecret')).toBe(wrong);
    expect(after).not.toBe(wrong);
    await joins(hub);
  });

  test('L4: an RSA hub certificate works, for old and new TLS', async () => {
    const ca = await mintCa();
    writeCaSecret(folder, ca);
    const rsa = await mintRsaServer(ca);
    writeSecret(folder, 'cloudcoresecret', { cloudcoredata: rsa.der, cloudcorekeydata: rsa.key });
    await using hub = await startTestGateway({
      folder,
      settings: { 'certificates.hubSecretManaged': 'false', 'advertise.addresses': 'localhost' },
    });
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { status } = await goGet(hub.port('https'), '/livez', {
        tls: { ca: ca.pem, rejectUnauthorized: true, maxVersion },
      });
      expect(status).toBe(200);
    }
  });

  test('B2: names become DNS SANs, addresses IP SANs, empty ones nothing; what is neither stops the start', async () => {
    const addresses = 'lb.example.com,10.0.0.1,fd00::1,';
    await expect(
      startTestGateway({ folder, settings: { 'advertise.addresses': 'lb.example.com,https://no' } }),
    ).rejects.toMatchObject({ code: 'ADDRESS_INVALID', message: expect.stringContaining('https://no') });
    expect(() => file('casecret')).toThrow('ENOENT');
    await using hub = await startTestGateway({ folder, settings: { 'advertise.addresses': addresses } });
    for (const name of ['https', 'websocket', 'admin'] as const)
      expect((await servedCertificate(hub.port(name))).subjectAltName).toBe(
        'DNS:lb.example.com, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1',
      );
  });

  test('B8: whatever is issued is valid for an edge whose clock is ten minutes slow', async () => {
    await using hub = await startTestGateway({ folder });
    const edges = Date.now() - 600_000;
    const { answer, credentials } = await joinAsEdgeCore(hub.port('https'), {
      node: 'edge-1',
      token: await hub.nodeToken('edge-1'),
    });
    const renewed = await renewAsEdgeCore(hub.port('https'), 'edge-1', credentials);
    const all = {
      ca: readCa(folder).certificate,
      hub: await servedCertificate(hub.port('websocket')),
      joined: new X509Certificate(answer.body),
      renewed: new X509Certificate(renewed.answer.body),
    };
    for (const [what, certificate] of Object.entries(all)) {
      expect(certificate.validFromDate.getTime(), what).toBeLessThan(edges);
      expect(certificate.validFromDate.getTime(), what).toBeLessThanOrEqual(Date.now() - 3_500_000);
    }
  });
});

/** The names of the chain as a client that trusts only `ca` sees it; rejects when it cannot verify. */
function verifiedChain(port: number, ca: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca }, () => {
      const names: string[] = [];
      let one: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
      while (one) {
        names.push(String(one.subject.CN));
        one = one.issuerCertificate === one ? undefined : one.issuerCertificate;
      }
      socket.destroy();
      resolve(names);
    });
    socket.once('error', reject);
  });
}
