import { eventually } from '../support/eventually.ts';
import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import { renameSync, rmSync, symlinkSync } from 'node:fs';
import { connect as tlsConnect } from 'node:tls';
import * as x509 from '@peculiar/x509';
import { describe, expect, test } from 'vitest';
import { captureLog } from '../support/capture-log.ts';
import {
  EdgeCoreSocket,
  goGet,
  type HttpAnswer,
  joinAsEdgeCore,
  makeRequest,
  renewAsEdgeCore,
} from '../support/edges/edgecore.ts';
import { rawTcp, rawTls, upgradeRequest } from '../support/edges/raw-edge.ts';
import { listNodes, metric, mintNode } from '../support/fleets/gateway-views.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { makeCsr } from '../support/pki/csr.ts';
import { scaled } from '../support/scale.ts';

const jwtOf = (token: string) => token.split('.').slice(1).join('.');
const ask = async (hub: TestGateway, node: string, csr: Buffer, token?: string, more = {}) =>
  goGet(hub.port('https'), '/edge.crt', {
    headers: {
      NodeName: node,
      ...(token === undefined ? {} : { Authorization: `Bearer ${jwtOf(token)}` }),
      ...more,
    },
    body: csr,
  });
const oneLine = ({ body }: HttpAnswer) => expect(body.toString().trim()).toMatch(/^[^\n]{5,}$/);

describe('what a request asks for', () => {
  test('D2: names, CA flag and serverAuth in a request or header never reach the certificate', async () => {
    await using hub = await startTestGateway();
    const csr = await makeCsr({
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'hub.example.com' }]),
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']),
      ],
    });
    const token = await hub.nodeToken('edge-1');
    const wanting = await ask(hub, 'edge-1', csr, token, { ExtKeyUsages: '[1,2]' });
    expect([wanting.status, wanting.headers['sallyport-reason']]).toEqual([403, 'usage-not-allowed']);
    const { status, body } = await ask(hub, 'edge-1', csr, token, { ExtKeyUsages: '[2]' });
    expect(status).toBe(200);
    const certificate = new X509Certificate(body);
    expect([certificate.subjectAltName, certificate.ca, certificate.keyUsage]).toEqual([
      undefined,
      false,
      ['1.3.6.1.5.5.7.3.2'],
    ]);
    expect(certificate.subject).toBe('O=system:nodes\nCN=system:node:edge-1');
  });

  test('D3, D9: a request whose signature does not verify is 400 and costs the token nothing; other failures have their status and one line', async () => {
    await using hub = await startTestGateway();
    const token = await hub.nodeToken('edge-1');
    const csr = await makeCsr();
    const forged = Buffer.from(csr);
    forged[forged.length - 5]! ^= 1;
    const bad = await ask(hub, 'edge-1', forged, token);
    const stranger = await ask(hub, 'edge-1', csr);
    const other = await ask(hub, 'edge-2', csr, token);
    expect([bad.status, stranger.status, other.status]).toEqual([400, 401, 403]);
    const aside = `${hub.folder}-aside`;
    renameSync(hub.folder, aside);
    symlinkSync(hub.folder, hub.folder);
    const away = await ask(hub, 'edge-1', csr, token);
    rmSync(hub.folder);
    renameSync(aside, hub.folder);
    expect(away.status).toBe(503);
    for (const answer of [bad, stranger, other, away]) oneLine(answer);
    expect((await ask(hub, 'edge-1', csr, token)).status).toBe(200);
  });

  test('D5, D12: a renewal is for the node of the certificate, whatever else is said; each issuance leaves its record', async () => {
    const { log, records } = captureLog();
    await using hub = await startTestGateway({ log, settings: { 'hub.replica': 'replica-7' } });
    const joined = await joinAsEdgeCore(hub.port('https'), {
      node: 'edge-1',
      token: await hub.nodeToken('edge-1'),
    });
    const otherToken = await hub.nodeToken('edge-2');
    const { csr } = await makeRequest('O=kubeEdge, CN=kubeedge.io');
    const tls = { cert: joined.credentials.cert, key: joined.credentials.key };
    const asOther = await goGet(hub.port('https'), '/edge.crt', {
      headers: { NodeName: 'edge-2', Authorization: `Bearer ${jwtOf(otherToken)}` },
      body: csr,
      tls,
    });
    expect(asOther.status).toBe(403);
    const renewed = await renewAsEdgeCore(hub.port('https'), 'edge-1', joined.credentials);
    expect(new X509Certificate(renewed.answer.body).subject).toContain('CN=system:node:edge-1');
    const first = new X509Certificate(joined.answer.body);
    const audit = records().filter(({ how }) => how !== undefined);
    expect(audit).toMatchObject([
      { node: 'edge-1', how: 'token', serial: first.serialNumber, tokenId: expect.any(String) },
      { node: 'edge-1', how: 'renewal', oldSerial: first.serialNumber },
    ]);
    for (const record of audit)
      expect(record).toMatchObject({
        publicKeySha256: expect.stringMatching(/^[0-9a-f]{64}$/),
        remoteAddress: '127.0.0.1',
        replica: 'replica-7',
        notAfter: expect.any(String),
      });
  });

  test('D10: a flood from one source is limited; another source and nodes with a session are served meanwhile', async () => {
    // So few that what a slow machine's minute of flood refills stays within the bound below.
    await using hub = await startTestGateway({ settings: { 'limits.enrolmentsPerMinutePerIp': '12' } });
    const csr = await makeCsr();
    const flood: HttpAnswer[] = [];
    for (let round = 0; round < 5; round++)
      flood.push(...(await Promise.all(Array.from({ length: 40 }, () => ask(hub, 'edge-1', csr)))));
    expect(new Set(flood.map(({ status }) => status))).toEqual(new Set([401, 429]));
    const limited = flood.filter(({ status }) => status === 429);
    expect(limited.length).toBeGreaterThanOrEqual(140);
    for (const answer of limited) {
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
      oneLine(answer);
    }
    const token = await hub.nodeToken('edge-1');
    const { status } = await goGet(hub.port('https'), '/edge.crt', {
      headers: { NodeName: 'edge-1', Authorization: `Bearer ${jwtOf(token)}` },
      body: csr,
      tls: { socket: await rawTcp(hub.port('https'), '127.0.0.2') },
    });
    expect(status).toBe(200);
  });
});

describe('who a connection says it is', () => {
  test('D7: odd subjects are refused on every listener, and the gateway goes on', async () => {
    await using hub = await startTestGateway();
    const subjects = [
      'CN=system:node:edge-1',
      'O=system:nodes',
      'O=system:nodes+CN=system:node:edge-1',
      'O=system:nodes,CN=system:node:edge-1,CN=system:node:edge-2',
      'O=system:nodes,CN=system:node:\u0435dge-1',
      'O=system:masters,CN=system:node:edge-1',
    ];
    for (const subject of subjects) {
      const odd = await mintNode(hub, 'edge-1', { subject });
      await expect(EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', odd), subject).rejects.toThrow('401');
      expect((await renewAsEdgeCore(hub.port('https'), 'edge-1', odd)).answer.status, subject).toBe(401);
      await expect(
        goGet(hub.port('admin'), '/api/v1/nodes', { tls: { cert: odd.cert, key: odd.key } }),
      ).resolves.toMatchObject({
        status: expect.toSatisfy((status: number) => status === 401 || status === 403),
      });
    }
    expect((await goGet(hub.port('https'), '/readyz')).status).toBe(200);
  });

  test('G2: frames that come along with a refused upgrade reach nobody and touch no session', async () => {
    await using hub = await startTestGateway();
    const node = await mintNode(hub, 'victim');
    const victim = await EdgeCoreSocket.open(hub.port('websocket'), 'victim', node);
    await eventually('it is there', async () => (await listNodes(hub)).length === 1);
    const before = await metric(hub, 'messages_total');
    const rogue = await rawTls(hub.port('websocket'), await mintNode(hub, 'attacker'));
    rogue.write(upgradeRequest('victim'));
    rogue.write(Buffer.concat([Buffer.from([0x81, 0x82, 0, 0, 0, 0]), Buffer.from('{}')]));
    let text = '';
    rogue.on('data', (data) => {
      text += data;
    });
    await new Promise((resolve) => rogue.once('close', resolve));
    expect(text).toMatch(/^HTTP\/1\.1 403 /);
    expect(victim.socket.readyState).toBe(victim.socket.OPEN);
    expect(await metric(hub, 'messages_total')).toBe(before);
    victim.socket.close();
  });
});

const MANY = scaled(150, 30);
const CAP = Math.ceil(MANY / 10);

test(`I1: ${MANY} nodes that return in one moment through a cap of ${CAP} handshakes are all in, and the session that lives stays healthy`, async () => {
  await using hub = await startTestGateway({ settings: { 'limits.handshakes': String(CAP) } });
  const node = await mintNode(hub, 'edge-0');
  const living = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-0', node);
  const fleet = await Promise.all(Array.from({ length: MANY }, (_, n) => mintNode(hub, `edge-${n + 1}`)));
  const times: number[] = [];
  let returning = true;
  const all = Promise.all(
    fleet.map((credentials, n) => EdgeCoreSocket.open(hub.port('websocket'), `edge-${n + 1}`, credentials)),
  ).finally(() => {
    returning = false;
  });
  while (returning) {
    const start = Date.now();
    living.socket.ping();
    await new Promise((resolve) => living.socket.once('pong', resolve));
    times.push(Date.now() - start);
  }
  const edges = await all;
  expect(await metric(hub, 'sessions', { transport: 'websocket' })).toBe(MANY + 1);
  // The load comes from this very process, so the figure is generous; bench measures it apart.
  expect(times.sort((a, b) => a - b)[Math.floor(times.length * 0.5)]).toBeLessThan(1_000);
  for (const { socket } of [...edges, living]) socket.terminate();
});

test('H5: a PROXY header is believed from trusted networks only', async () => {
  const { log, records } = captureLog();
  const header = 'PROXY TCP4 203.0.113.9 192.0.2.1 4711 10000\r\n';
  await using trusting = await startTestGateway({ settings: { 'limits.proxyProtocolFrom': '127.0.0.3/32' } });
  const node = await mintNode(trusting, 'edge-1');
  const tcp = await rawTcp(trusting.port('websocket'), '127.0.0.3');
  tcp.write(header);
  const socket = tlsConnect({
    socket: tcp,
    servername: 'localhost',
    ca: node.ca,
    cert: node.cert,
    key: node.key,
  });
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  socket.write(upgradeRequest('edge-1'));
  await eventually('the real address is told', async () => {
    return (await listNodes(trusting))[0]?.remoteAddress === '203.0.113.9';
  });
  socket.destroy();

  await using other = await startTestGateway({ log });
  const liar = await rawTcp(other.port('websocket'));
  liar.write(header);
  await new Promise((resolve) => {
    liar.resume();
    liar.once('close', resolve);
  });
  expect(JSON.stringify(records())).not.toContain('203.0.113.9');
});
