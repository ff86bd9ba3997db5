import 'reflect-metadata';
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { expect, test } from 'vitest';
import type { IssuedCertificate } from '../../../../src/contracts/certificate-issuer.ts';
import { SallyportError } from '../../../../src/core/errors.ts';
import { ecKeys, makeCsr, rsaKeys } from '../../../support/pki/csr.ts';
import { DAY_MS, EnrolmentWorld, peerOf } from '../../../support/pki/enrolment.ts';
import { kubeEdgeToken } from '../../../support/pki/kubeedge-token.ts';
import { mintCa, mintEdge, OID } from '../../../support/pki/pki.ts';

/** `200`, or status and code of the refusal. */
const answer = (issuing: Promise<IssuedCertificate>): Promise<string> =>
  issuing.then(
    () => '200',
    (error: unknown) => (error instanceof SallyportError ? `${error.status} ${error.code}` : `${error}`),
  );
const messageOf = (issuing: Promise<IssuedCertificate>): Promise<string> =>
  issuing.then(
    () => 'issued',
    (error: Error) => error.message,
  );
const count = async (world: { expose(): Promise<string> }, series: string): Promise<number> =>
  Number(
    (await world.expose())
      .split('\n')
      .find((line) => line.startsWith(series))
      ?.split(' ')[1] ?? 0,
  );

test('E4, E5: a node joins with its own token, the fleet token, or one of KubeEdge, and gets a certificate the gate accepts', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const own = (await replica.tokens.createNodeToken('edge-1')).token;
  const fleet = (await replica.tokens.fleetToken()).token;
  const kubeEdge = kubeEdgeToken(world.ca, world.clock.now() + DAY_MS);
  for (const [token, how] of [
    [own, 'token'],
    [fleet.slice(65), 'fleet-token'],
    [kubeEdge.slice(65), 'fleet-token'],
  ] as const) {
    const keys = ecKeys();
    const issued = await replica.issuer.issue(await world.request({ token, csr: await makeCsr({ keys }) }));
    expect(issued).toMatchObject({ nodeName: 'edge-1', how });
    const certificate = new X509Certificate(issued.der);
    expect(certificate.serialNumber).toBe(issued.serial);
    expect(certificate.checkPrivateKey(keys.privateKey)).toBe(true);
    expect(replica.gate.check(certificate)).toMatchObject({ ok: true, identity: { nodeName: 'edge-1' } });
    expect(await count(replica.metrics, `sallyport_certificates_issued_total{how="${how}"}`)).toBeGreaterThan(
      0,
    );
  }
  expect(await answer(replica.issuer.issue(await world.request({ token: own })))).toBe('401 TOKEN_USED');
  expect(await replica.issuer.isTokenValid(own, 'edge-1')).toBe(false);
  expect(await replica.issuer.isTokenValid(fleet, 'edge-9')).toBe(true);
  expect(await replica.issuer.isTokenValid('nonsense', 'edge-9')).toBe(false);
});

test('E5: of many simultaneous requests with one token, over three replicas, exactly one gets a certificate', async () => {
  await using world = await EnrolmentWorld.create();
  const replicas = [await world.replica('a'), await world.replica('b'), await world.replica('c')];
  const { token } = await replicas[0]!.tokens.createNodeToken('edge-1');
  const requests = await Promise.all(Array.from({ length: 12 }, () => world.request({ token })));
  const answers = await Promise.all(
    requests.map((request, index) => answer(replicas[index % 3]!.issuer.issue(request))),
  );
  expect(answers.filter((one) => one === '200')).toHaveLength(1);
  expect(answers.filter((one) => one === '401 TOKEN_USED')).toHaveLength(11);
  expect(replicas.flatMap(({ audit }) => audit.recent())).toHaveLength(1);
});

test('E5, D9: a token is not used up by a request that is refused, nor by a signature that fails', async () => {
  await using world = await EnrolmentWorld.create();
  const { issuer, tokens } = await world.replica();
  const { token } = await tokens.createNodeToken('edge-1');
  const attempt = async (parts: object) => answer(issuer.issue(await world.request({ token, ...parts })));
  expect(await attempt({ csr: Buffer.from('nonsense') })).toBe('400 CSR_INVALID');
  expect(await attempt({ extKeyUsages: [1] })).toBe('403 USAGE_NOT_ALLOWED');
  expect(await attempt({ nodeName: 'edge-2' })).toBe('403 TOKEN_OTHER_NODE');
  world.settings.edgeDays = Number.NaN;
  expect(await attempt({})).toBe('500 INTERNAL');
  world.settings.edgeDays = 365;
  await world.clock.advance(10_000);
  world.storeDown = true;
  expect(await attempt({})).toBe('503 SECRET_STORE_UNAVAILABLE');
  world.storeDown = false;
  expect(await attempt({})).toBe('200');
});

test('D9: nothing, an unknown certificate, and a bad name are answered 401, 401 and 400', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const ask = async (parts: object) => answer(replica.issuer.issue(await world.request(parts)));
  expect(await ask({})).toBe('401 NOT_AUTHENTICATED');
  expect(await ask({ peer: replica.gate.check(undefined) })).toBe('401 NOT_AUTHENTICATED');
  const stranger = await mintEdge(await mintCa(), 'edge-1');
  expect(await ask(peerOf(replica, stranger.certificate))).toBe('401 PEER_REFUSED');
  for (const nodeName of ['Edge-1', '../edge', 'edge-1\n', '', 'x'.repeat(254)])
    expect(await ask({ nodeName })).toBe('400 NODE_NAME_INVALID');
  const { token } = await replica.tokens.createNodeToken('edge-1');
  expect(await ask({ token, nodeName: undefined })).toBe('400 NODE_NAME_INVALID');
  expect(await ask({ csr: Buffer.alloc(0), token })).toBe('400 CSR_MISSING');
  expect(await count(replica.metrics, 'sallyport_enrolment_refused_total{reason="not-authenticated"}')).toBe(
    2,
  );
});

test('D1: a CSR that names another node is 403 and nothing is signed; a generic old subject is fine, the subject is ours', async () => {
  await using world = await EnrolmentWorld.create();
  const { issuer, tokens, audit } = await world.replica();
  const { token } = await tokens.createNodeToken('edge-1');
  const other = await makeCsr({ subject: 'O=system:nodes, CN=system:node:edge-2' });
  expect(await answer(issuer.issue(await world.request({ token, csr: other })))).toBe('403 NODE_MISMATCH');
  expect(audit.recent()).toEqual([]);
  const generic = await makeCsr({ subject: 'C=CN, O=kubeEdge, L=Hangzhou, ST=Zhejiang, CN=kubeedge.io' });
  const { der } = await issuer.issue(await world.request({ token, csr: generic }));
  expect(new X509Certificate(der).subject).toBe('O=system:nodes\nCN=system:node:edge-1');
});

test('D2: SANs and CA:TRUE of a CSR are dropped, serverAuth is refused unless the policy allows it, other usages always', async () => {
  await using world = await EnrolmentWorld.create();
  const { issuer, tokens } = await world.replica();
  const { token } = await tokens.fleetToken();
  const csr = await makeCsr({
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }]),
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.ExtendedKeyUsageExtension([OID.serverAuth]),
    ],
  });
  const issue = async (extKeyUsages?: number[]) =>
    new X509Certificate((await issuer.issue(await world.request({ token, csr, extKeyUsages }))).der);
  for (const usages of [undefined, [], [2], [2, 2]]) {
    const certificate = await issue(usages);
    expect(certificate.keyUsage).toEqual([OID.clientAuth]);
    expect(certificate.subjectAltName).toBeUndefined();
    expect(certificate.ca).toBe(false);
  }
  for (const usages of [[1], [2, 1], [0], [3], [2, 99], [-1], [Number.NaN]])
    expect(await answer(issuer.issue(await world.request({ token, extKeyUsages: usages })))).toBe(
      '403 USAGE_NOT_ALLOWED',
    );
  world.settings.allowServerAuth = true;
  expect((await issue([1])).keyUsage).toEqual(expect.arrayContaining([OID.clientAuth, OID.serverAuth]));
  expect((await issue([2])).keyUsage).toEqual([OID.clientAuth]);
  expect(await answer(issuer.issue(await world.request({ token, extKeyUsages: [0] })))).toBe(
    '403 USAGE_NOT_ALLOWED',
  );
});

test('D3, D4: a forged signature, a weak key, and a key equal to that of the CA or the hub are 400', async () => {
  await using world = await EnrolmentWorld.create();
  const { issuer, tokens } = await world.replica();
  const { token } = await tokens.fleetToken();
  const ask = async (csr: Uint8Array) => messageOf(issuer.issue(await world.request({ token, csr })));
  const forged = await makeCsr();
  forged[forged.length - 1]! ^= 1;
  expect(await ask(forged)).toMatch(/signature/);
  expect(await ask(await makeCsr({ keys: rsaKeys(1024) }))).toMatch(/RSA 1024 bit/);
  for (const { privateKey, certificate } of [world.ca, world.server]) {
    const csr = await makeCsr({ keys: { privateKey, publicKey: certificate.publicKey } });
    expect(await ask(csr)).toMatch(/belongs to the hub or its CA/);
  }
  expect(await ask(await makeCsr({ keys: rsaKeys() }))).toBe('issued');
});

test('D5: renewal takes the node from the certificate alone: no header is needed, another name or CSR is 403, a token changes nothing', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const edge = await mintEdge(world.ca, 'edge-1');
  const peer = peerOf(replica, edge.certificate);
  const ask = async (parts: object) => replica.issuer.issue(await world.request({ ...peer, ...parts }));
  expect(await ask({ nodeName: undefined })).toMatchObject({ nodeName: 'edge-1', how: 'renewal' });
  expect(await answer(ask({ nodeName: 'edge-2' }))).toBe('403 NODE_MISMATCH');
  const csr = await makeCsr({ subject: 'CN=system:node:edge-2' });
  expect(await answer(ask({ csr }))).toBe('403 NODE_MISMATCH');
  const { token } = await replica.tokens.createNodeToken('edge-2');
  expect(await answer(ask({ csr, token, nodeName: 'edge-2' }))).toBe('403 NODE_MISMATCH');
  expect(await ask({ token: 'nonsense' })).toMatchObject({ how: 'renewal' });
  expect(await replica.issuer.isTokenValid(token, 'edge-2')).toBe(true);
  const [record] = replica.audit.recent();
  expect(record).toMatchObject({ how: 'renewal', oldSerial: edge.certificate.serialNumber });
});

test('D6: a certificate that names no node is renewed only under the name its serial is mapped to, never under a believed one', async () => {
  await using world = await EnrolmentWorld.create({ allowLegacy: true });
  const replica = await world.replica();
  const { certificate } = await mintEdge(world.ca, 'x', { subject: 'O=kubeEdge,CN=kubeedge.io' });
  const ask = async (nodeName: string) =>
    replica.issuer.issue(await world.request({ ...peerOf(replica, certificate, nodeName), nodeName }));
  expect(peerOf(replica, certificate, 'edge-1').peer.ok).toBe(true);
  expect(await answer(ask('edge-1'))).toBe('401 PEER_REFUSED');
  world.settings.legacyNodes = { [certificate.serialNumber.toLowerCase()]: 'edge-1' };
  expect(await ask('edge-1')).toMatchObject({ nodeName: 'edge-1', how: 'renewal' });
  expect(await answer(ask('edge-2'))).toBe('403 NODE_MISMATCH');
});

test('D7: certificates with odd subjects are no identity, and a token beside them decides', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  for (const subject of [
    'CN=system:node:edge-1',
    'O=system:nodes',
    'O=system:nodes+CN=system:node:edge-1',
    'O=system:nodes,CN=system:node:edge-1,CN=system:node:edge-2',
    'O=system:nodes,CN=system:node:edge-1\u0000',
    'O=system:nodes,CN=system:node:édge',
  ]) {
    for (const expired of [false, true]) {
      const dates = { notBefore: ago(world, 400), notAfter: ago(world, expired ? 1 : -30) };
      const { certificate } = await mintEdge(world.ca, 'x', { subject, ...dates });
      const peer = peerOf(replica, certificate);
      expect(await answer(replica.issuer.issue(await world.request(peer))), subject).toBe('401 PEER_REFUSED');
      const { token } = await replica.tokens.createNodeToken('edge-1');
      const joined = await replica.issuer.issue(await world.request({ ...peer, token }));
      expect(joined).toMatchObject({ nodeName: 'edge-1', how: 'token' });
    }
  }
});

test('D11: a token cannot replace a node that is connected now, unless told so, and that is audited; renewal is not affected', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  world.connected.add('edge-1');
  const { token } = await replica.tokens.createNodeToken('edge-1');
  const request = await world.request({ token });
  expect(await answer(replica.issuer.issue(request))).toBe('403 NODE_CONNECTED');
  const edge = await mintEdge(world.ca, 'edge-1');
  const renewal = await world.request(peerOf(replica, edge.certificate));
  expect(await answer(replica.issuer.issue(renewal))).toBe('200');
  world.settings.allowReplaceConnected = true;
  expect(await answer(replica.issuer.issue(request))).toBe('200');
  expect(replica.audit.recent().map(({ how, replacedConnected }) => ({ how, replacedConnected }))).toEqual([
    { how: 'renewal', replacedConnected: undefined },
    { how: 'token', replacedConnected: true },
  ]);
});

test('D12: every issuance leaves a record and a log line with node, serial, key hash, token, source, end and replica', async () => {
  await using world = await EnrolmentWorld.create();
  const { issuer, tokens, audit } = await world.replica('hub-a');
  const { token } = await tokens.createNodeToken('edge-1');
  const keys = ecKeys();
  const issued = await issuer.issue(await world.request({ token, csr: await makeCsr({ keys }) }));
  const spki = keys.publicKey.export({ type: 'spki', format: 'der' });
  const wanted = {
    at: new Date(world.clock.now()).toISOString(),
    node: 'edge-1',
    how: 'token',
    serial: issued.serial,
    issuerSha256: createHash('sha256').update(world.ca.certificate.raw).digest('hex'),
    notBefore: new X509Certificate(issued.der).validFromDate.toISOString(),
    publicKeySha256: createHash('sha256').update(spki).digest('hex'),
    usages: ['clientAuth'],
    notAfter: issued.notAfter.toISOString(),
    remoteAddress: '192.0.2.7',
    replica: 'hub-a',
    tokenId: JSON.parse(Buffer.from(token.split('.')[2]!, 'base64url').toString()).jti,
  };
  expect(audit.recent()).toEqual([wanted]);
  const lines = world.lines.filter((line) => line.includes('certificate-issued'));
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0]!)).toMatchObject({ ...wanted, msg: 'edge certificate issued' });
});

test('F1: a certificate that expired within the grace is renewed once, on whichever replica, and audited', async () => {
  await using world = await EnrolmentWorld.create();
  const [here, there] = [await world.replica('a'), await world.replica('b')];
  const edge = await mintEdge(world.ca, 'edge-1', { notBefore: ago(world, 400), notAfter: ago(world, 29) });
  const ask = async (replica = here) =>
    replica.issuer.issue(await world.request({ ...peerOf(replica, edge.certificate), nodeName: undefined }));
  const answers = await Promise.all([answer(ask()), answer(ask(there)), answer(ask()), answer(ask(there))]);
  expect(answers.sort()).toEqual(['200', '401 GRACE_USED', '401 GRACE_USED', '401 GRACE_USED']);
  await world.clock.advance(60_000);
  expect(await answer(ask(there))).toBe('401 GRACE_USED');
  const records = [...here.audit.recent(), ...there.audit.recent()];
  expect(records).toEqual([
    expect.objectContaining({
      how: 'grace-renewal',
      node: 'edge-1',
      oldSerial: edge.certificate.serialNumber,
    }),
  ]);
});

test('F1: later than the grace the answer is 401 and says whose certificate it is, since when, and how long the grace was', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const edge = await mintEdge(world.ca, 'edge-1', { notBefore: ago(world, 400), notAfter: ago(world, 31) });
  const ask = async () => replica.issuer.issue(await world.request(peerOf(replica, edge.certificate)));
  expect(await answer(ask())).toBe('401 PEER_REFUSED');
  expect(await messageOf(ask())).toMatch(/node edge-1, expired 31 days ago, .*for 30 days after/);
  world.settings.graceDays = 40;
  expect(await ask()).toMatchObject({ how: 'grace-renewal' });
});

test('F1: a certificate that ended before its CA was made anew is refused for that, and nobody is sent to look for a wrong clock', async () => {
  await using world = await EnrolmentWorld.create({ graceDays: 10_000 });
  const replica = await world.replica();
  const begin = world.ca.certificate.validFromDate.getTime();
  const edge = await mintEdge(world.ca, 'edge-1', {
    notBefore: new Date(begin - 100 * DAY_MS),
    notAfter: new Date(begin - DAY_MS),
  });
  const message = await messageOf(
    replica.issuer.issue(await world.request(peerOf(replica, edge.certificate))),
  );
  expect(message).toMatch(/node edge-1, .*ended at .*, before its CA began, at .*; join again with a token/);
  expect(message).not.toMatch(/clock|not valid yet/);
});

test('F1: the grace is for certificates of ours that are refused for nothing but their date', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const dates = { notBefore: ago(world, 400), notAfter: ago(world, 1) };
  const strangers = await mintEdge(await mintCa(), 'edge-1', dates);
  const server = await mintEdge(world.ca, 'edge-1', { ...dates, usages: [OID.serverAuth] });
  const revoked = await mintEdge(world.ca, 'edge-1', dates);
  world.revoked.add(revoked.certificate.serialNumber);
  for (const { certificate } of [strangers, server, revoked]) {
    // Even if a gate had called it expired, which is the reason that leads here.
    const peer = { ok: false, reason: 'expired', detail: 'x' } as const;
    const request = await world.request({ peer, peerCertificate: certificate.raw });
    expect(await answer(replica.issuer.issue(request))).toBe('401 PEER_REFUSED');
  }
  const fresh = await mintEdge(world.ca, 'edge-1');
  const peer = { ok: false, reason: 'expired', detail: 'x' } as const;
  for (const peerCertificate of [fresh.der, randomBytes(200), new Uint8Array()])
    expect(await answer(replica.issuer.issue(await world.request({ peer, peerCertificate })))).toBe(
      '401 PEER_REFUSED',
    );
});

test('F2: an expired or unknown certificate and a valid token in one request: the token decides, for better or worse', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const expired = await mintEdge(world.ca, 'edge-1', {
    notBefore: ago(world, 400),
    notAfter: ago(world, 100),
  });
  const unknown = await mintEdge(await mintCa(), 'edge-1');
  for (const { certificate } of [expired, unknown]) {
    const peer = peerOf(replica, certificate);
    expect(await answer(replica.issuer.issue(await world.request(peer)))).toBe('401 PEER_REFUSED');
    const { token } = await replica.tokens.createNodeToken('edge-1');
    const request = await world.request({ ...peer, token });
    expect(await replica.issuer.issue(request)).toMatchObject({ how: 'token' });
    expect(await answer(replica.issuer.issue(request))).toBe('401 TOKEN_USED');
  }
});

test('G7: a node that is shut out by name gets nothing, by token, renewal or grace; its token is not used up, and strangers learn nothing', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const { token } = await replica.tokens.createNodeToken('edge-1');
  const dates = { notBefore: new Date(world.clock.now() - 400 * DAY_MS) };
  const valid = await mintEdge(world.ca, 'edge-1', dates);
  const expired = await mintEdge(world.ca, 'edge-1', {
    ...dates,
    notAfter: new Date(world.clock.now() - DAY_MS),
  });
  const attempt = async (parts: object) => answer(replica.issuer.issue(await world.request(parts)));
  world.shutOut.set('edge-1', { word: 'revoked', text: 'lost' });
  expect(await attempt({ token })).toBe('403 NODE_REVOKED');
  expect(await attempt(peerOf(replica, valid.certificate))).toBe('403 NODE_REVOKED');
  expect(await attempt(peerOf(replica, expired.certificate))).toBe('403 NODE_REVOKED');
  expect(await count(replica.metrics, 'sallyport_enrolment_refused_total{reason="revoked"}')).toBe(3);
  expect(await attempt({})).toBe('401 NOT_AUTHENTICATED');
  expect(await attempt({ token: `${token}x` })).toBe('401 TOKEN_INVALID');
  world.shutOut.set('edge-1', { word: 'quarantined', text: 'certificateHold' });
  expect(await attempt({ token })).toBe('403 NODE_QUARANTINED');
  expect(await count(replica.metrics, 'sallyport_enrolment_refused_total{reason="quarantined"}')).toBe(1);
  world.shutOut.clear();
  expect(await attempt({ token })).toBe('200');
});

test('G7: a node that is revoked while its certificate is signed does not get it', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const { token } = await replica.tokens.createNodeToken('edge-1');
  world.store.fault = (call) => {
    if (call === 'replace') world.shutOut.set('edge-1', { word: 'revoked', text: 'lost' });
  };
  expect(await answer(replica.issuer.issue(await world.request({ token })))).toBe('403 NODE_REVOKED');
  expect(replica.audit.recent()).toEqual([]);
});

test('a revoked certificate is refused even with a valid token beside it', async () => {
  await using world = await EnrolmentWorld.create();
  const replica = await world.replica();
  const edge = await mintEdge(world.ca, 'edge-1');
  world.revoked.add(edge.certificate.serialNumber);
  const { token } = await replica.tokens.createNodeToken('edge-1');
  const request = await world.request({ ...peerOf(replica, edge.certificate), token });
  expect(await answer(replica.issuer.issue(request))).toBe('401 PEER_REFUSED');
});

test('A10, E7: at the most verbose level no token and no key appears in the log, nor in any error', async () => {
  await using world = await EnrolmentWorld.create();
  const { issuer, tokens } = await world.replica();
  const fleet = (await tokens.fleetToken()).token;
  const node = (await tokens.createNodeToken('edge-1')).token;
  const late = (await tokens.createNodeToken('edge-1', 1_000)).token;
  const foreign = `${fleet.slice(0, -3)}AAA`;
  const errors: string[] = [];
  for (const token of [node, node, fleet, foreign, late]) {
    if (token === late) await world.clock.advance(5_000);
    await issuer.issue(await world.request({ token })).catch((error: SallyportError) => {
      errors.push(`${error.message} ${error.fix} ${JSON.stringify(error)} ${error.stack}`);
    });
  }
  expect(errors).toHaveLength(3);
  await tokens.revokeAll();
  world.storeDown = true;
  await world.clock.advance(120_000);
  await answer(issuer.issue(await world.request({ token: fleet })));
  const text = world.lines.join('') + errors.join('');
  expect(text).toContain('edge certificate issued');
  expect(text).toContain('TOKEN_EXPIRED');
  const ownKey = Buffer.from(world.store.peek('sallyport-tokens')!.data.hmacKey!);
  const caKey = Buffer.from(world.authority.rawKey);
  const secrets = [fleet, node, late, foreign].flatMap((token) => token.split('.').slice(2));
  for (const key of [ownKey, caKey])
    for (const encoding of ['hex', 'base64', 'base64url'] as const) secrets.push(key.toString(encoding));
  for (const secret of secrets) expect(text).not.toContain(secret);
});

test('I14: the same refusal from one address is a line a minute, and counted each time', async () => {
  await using world = await EnrolmentWorld.create();
  const { issuer, metrics } = await world.replica();
  const request = await world.request();
  for (let turn = 0; turn < 50; turn++) await answer(issuer.issue(request));
  const lines = () => world.lines.filter((line) => line.includes('edge certificate refused'));
  expect(lines()).toHaveLength(1);
  expect(await count(metrics, 'sallyport_enrolment_refused_total{reason="not-authenticated"}')).toBe(50);
  await world.clock.advance(60_000);
  await answer(issuer.issue(request));
  expect(JSON.parse(lines()[1]!)).toMatchObject({ suppressed: 49, node: 'edge-1' });
});

function ago(world: EnrolmentWorld, days: number): Date {
  return new Date(world.clock.now() - days * DAY_MS);
}
