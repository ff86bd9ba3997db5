import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AdminError } from '../../src/cli/admin/admin-error.ts';
import type { NodeInfo } from '../../src/contracts/node-directory.ts';
import type { Revocation, RevocationReceipt } from '../../src/contracts/revocations.ts';
import type { TransportName } from '../../src/protocol/listener-names.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import type { EdgeEvents } from '../../src/sdk/edge-events.ts';
import { LeapingClock } from '../fakes/leaping-clock.ts';
import { captureLog } from '../support/capture-log.ts';
import { goGet, joinAsEdgeCore, renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const API = '/api/v1/revocations';
const revoke = (hub: TestGateway, body: object) => hub.admin.post<RevocationReceipt>(API, body);
const lift = (hub: TestGateway, body: object) => hub.admin.post<RevocationReceipt>(`${API}/lift`, body);
const nodes = async (hub: TestGateway) =>
  (await hub.admin.get<{ items: NodeInfo[] }>('/api/v1/nodes')).items.map(({ node }) => node);
const metricsOf = async (hub: TestGateway) =>
  // Text, which the client of the API would parse as JSON.
  (
    await goGet(hub.port('admin'), '/metrics', {
      tls: {
        cert: readFileSync(join(hub.folder, 'admin.crt')),
        key: readFileSync(join(hub.folder, 'admin.key')),
      },
    })
  ).body.toString();

/** Joins, connects, and remembers why it was disconnected. */
async function connected(hub: TestGateway, node: string, transport: TransportName) {
  const options = { ...hub.edgeOptions(node), transport };
  const client = await EdgeClient.join({ ...options, token: await hub.nodeToken(node) });
  const ends: EdgeEvents['disconnected'][] = [];
  client.on('disconnected', (end) => void ends.push(end));
  await client.connect();
  return { client, ends, options };
}

for (const transport of ['websocket', 'quic', 'webtransport'] as const) {
  test(`G7: a revoked node is closed at once on ${transport}, cannot connect, renew or join with a fresh token, until it is lifted`, async () => {
    await using hub = await startTestGateway({ settings: { [`${transport}.enabled`]: 'true' } });
    const { client, ends, options } = await connected(hub, 'edge-1', transport);
    await using bystander = (await connected(hub, 'edge-2', transport)).client;
    const serial = (await hub.admin.get<NodeInfo>('/api/v1/nodes/edge-1')).certificate.serial;

    const begun = Date.now();
    const receipt = await revoke(hub, { node: 'edge-1', reason: 'keyCompromise', note: 'stolen van' });
    await eventually('the edge was told', () => ends.length > 0);
    expect(Date.now() - begun).toBeLessThan(10_000);
    expect(ends[0]).toMatchObject({ reason: { name: 'Revoked' }, final: { code: 'SHUT_OUT' } });
    expect(await nodes(hub)).toEqual(['edge-2']);
    expect(receipt).toMatchObject({
      revocation: { kind: 'node', node: 'edge-1', reason: 'keyCompromise', by: 'admin', note: 'stolen van' },
      complete: true,
      replicas: [{ alive: true, closed: [{ node: 'edge-1', transport }] }],
    });
    expect(receipt.revocation?.certificates?.map((one) => one.serial)).toEqual([serial]);

    await client.close();
    const again = await EdgeClient.open(options);
    await expect(again.connect()).rejects.toMatchObject({
      message: expect.stringMatching(/revoked/i),
    });
    await expect(again.renew()).rejects.toThrow(/revoked/);
    await again.close();
    const fresh = await hub.nodeToken('edge-1');
    const refused = await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token: fresh });
    expect([refused.answer.status, refused.answer.headers['sallyport-reason']]).toEqual([403, 'revoked']);
    expect(refused.answer.body.toString()).toMatch(/^node edge-1 is revoked: keyCompromise, since /);
    expect(refused.answer.body.toString()).not.toContain('stolen van');
    expect(await metricsOf(hub)).toMatch(
      new RegExp(`sallyport_handshake_failures_total\\{[^}]*transport="${transport}"[^}]*reason="revoked"`),
    );

    const lifted = await lift(hub, { node: 'edge-1' });
    expect(lifted.revocation).toBeUndefined();
    await using back = await EdgeClient.open(options);
    await back.connect();
    expect((await nodes(hub)).sort()).toEqual(['edge-1', 'edge-2']);
    await back.close();
    // The token that was refused was not used up.
    await eventually('it is gone', async () => !(await nodes(hub)).includes('edge-1'));
    expect((await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token: fresh })).answer.status).toBe(
      200,
    );
    expect(bystander).toBeDefined();
  });
}

for (const transport of ['websocket', 'quic', 'webtransport'] as const) {
  test(`V5: a quarantined node waits on ${transport}, and is back by itself when it is lifted`, async () => {
    await using hub = await startTestGateway({ settings: { [`${transport}.enabled`]: 'true' } });
    const { client, ends } = await connected(hub, 'edge-1', transport);
    await using edge = client;
    const refused: string[] = [];
    edge.on('error', (error) => void refused.push(error.message));
    await hub.admin.post(`${API}/quarantine`, { node: 'edge-1' });
    await eventually('it was closed, and refused when it came back', () => refused.length > 1);
    expect(ends).toMatchObject([{ reason: { name: 'Quarantined' }, final: undefined }]);
    expect(refused.at(-1)).toMatch(/node edge-1, quarantined: certificateHold, since/);
    await expect(edge.renew()).rejects.toThrow(/quarantined/);
    const token = await hub.nodeToken('edge-1');
    const { answer } = await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token });
    expect(answer.body.toString()).toMatch(/^node edge-1 is quarantined: certificateHold, since /);
    expect(await nodes(hub)).toEqual([]);
    const said = edge.send({ resource: 'app/x', operation: 'update', content: 'said meanwhile' });
    await lift(hub, { node: 'edge-1' });
    await said;
    expect(await nodes(hub)).toEqual(['edge-1']);
  });
}

test('V5: a quarantined node that joins with a token waits, and joins when it is lifted', async () => {
  await using hub = await startTestGateway();
  const token = await hub.nodeToken('edge-1');
  await hub.admin.post(`${API}/quarantine`, { node: 'edge-1' });
  const waits: string[] = [];
  const joining = EdgeClient.join({
    ...hub.edgeOptions('edge-1'),
    token,
    onWait: (_delayMs, problem) => {
      if (waits.push(problem) === 1) void lift(hub, { node: 'edge-1' });
    },
  });
  await using edge = await joining;
  expect(edge.node).toBe('edge-1');
  expect(waits[0]).toMatch(/node edge-1 is quarantined: certificateHold, since/);
});

test('G7: what is revoked at one replica is closed at the other within 10 s, and the receipt names both', async () => {
  const folder = temporaryFolder();
  await using one = await startTestGateway({ folder, settings: { 'hub.replica': 'one' } });
  await using two = await startTestGateway({ folder, settings: { 'hub.replica': 'two' } });
  const { client, ends } = await connected(two, 'edge-1', 'websocket');
  const { sessionId, certificate } = await two.admin.get<NodeInfo>('/api/v1/nodes/edge-1');
  await eventually(
    'each replica knows of the other',
    async () => (await one.admin.get<RevocationReceipt>(`${API}/replicas`)).replicas.length === 2,
  );

  const begun = Date.now();
  const { revocation } = await one.admin.post<RevocationReceipt>(`${API}/quarantine`, { node: 'edge-1' });
  await eventually('it was closed at the other', () => ends.length > 0);
  expect(Date.now() - begun).toBeLessThan(10_000);
  expect(ends[0]).toMatchObject({ reason: { name: 'Quarantined' }, final: undefined });

  const id = revocation!.id;
  let receipt!: RevocationReceipt;
  await eventually('both have told', async () => {
    receipt = await one.admin.get<RevocationReceipt>(`${API}/${id}`);
    return receipt.complete && receipt.replicas.some(({ closed }) => closed.length > 0);
  });
  expect(receipt.replicas.map(({ replica, alive }) => [replica, alive])).toEqual([
    ['one', true],
    ['two', true],
  ]);
  expect(receipt.replicas[0]!.closed).toEqual([]);
  expect(receipt.replicas[1]!.closed).toEqual([
    { revocation: id, node: 'edge-1', sessionId, transport: 'websocket', at: expect.any(String) },
  ]);
  // What the other replica knew of its certificate stands in the one list.
  await eventually('the serial is in the list', async () => {
    const { items } = await one.admin.get<{ items: Revocation[] }>(API);
    return items[0]?.certificates?.[0]?.serial === certificate.serial.replace(/^0+/, '');
  });
  await client.close();
  await two.stop();
  await eventually(
    'nobody waits for a replica that was stopped',
    async () => (await one.admin.get<RevocationReceipt>(`${API}/replicas`)).replicas.length === 1,
  );
}, 40_000);

test('G7: a revoked node that may join again does so with a token, and its old certificate stays out', async () => {
  const clock = new LeapingClock();
  await using hub = await startTestGateway({ clock, settings: { 'certificates.backdateMs': '0' } });
  const stolen = await connected(hub, 'edge-1', 'websocket');
  // Never seen with a session: only its begin tells that it is an old one.
  const spare = await joinAsEdgeCore(hub.port('https'), {
    node: 'edge-3',
    token: await hub.nodeToken('edge-3'),
  });
  clock.leap(2_100);
  await revoke(hub, { node: 'edge-1', reason: 'keyCompromise' });
  await revoke(hub, { node: 'edge-3', reason: 'keyCompromise' });
  await eventually('it is out', () => stolen.ends.length > 0);
  await stolen.client.close();
  clock.leap(2_100);

  await lift(hub, { node: 'edge-1', rejoin: true });
  await lift(hub, { node: 'edge-3', rejoin: true });
  await using replacement = (await connected(hub, 'edge-1', 'websocket')).client;
  expect(await nodes(hub)).toEqual(['edge-1']);
  const thief = await EdgeClient.open(stolen.options);
  await expect(thief.connect()).rejects.toMatchObject({ message: expect.stringMatching(/revoked/i) });
  await thief.close();
  const old = await renewAsEdgeCore(hub.port('https'), 'edge-3', spare.credentials);
  expect([old.answer.status, old.answer.headers['sallyport-reason']]).toEqual([401, 'revoked']);
  expect(replacement).toBeDefined();
}, 30_000);

test('G7: a serial is revoked by itself; the CRL names it and openssl verifies it; a restart forgets nothing', async () => {
  const folder = temporaryFolder();
  let serial: string;
  let credentials: Awaited<ReturnType<typeof joinAsEdgeCore>>['credentials'];
  {
    await using hub = await startTestGateway({ folder });
    const empty = await goGet(hub.port('https'), '/ca.crl');
    expect([empty.status, empty.headers['content-type']]).toEqual([200, 'application/pkix-crl']);
    const joined = await joinAsEdgeCore(hub.port('https'), {
      node: 'edge-1',
      token: await hub.nodeToken('edge-1'),
    });
    ({ credentials } = joined);
    serial = new X509Certificate(joined.answer.body).serialNumber;
    await revoke(hub, { serial: serial.toLowerCase(), reason: 'superseded' });
    const crl = await goGet(hub.port('https'), '/ca.crl');
    const [crlFile, caFile] = [join(folder, 'x.crl'), join(folder, 'x.pem')];
    writeFileSync(crlFile, crl.body);
    writeFileSync(caFile, credentials.ca);
    const text = execFileSync(
      'openssl',
      ['crl', '-inform', 'DER', '-in', crlFile, '-CAfile', caFile, '-text', '-noout'],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    );
    expect(text).toContain(`Serial Number: ${serial}`);
    expect(text).toContain('Superseded');
    expect(text).toContain('X509v3 CRL Number');
    expect(text).toContain('X509v3 Authority Key Identifier');
    const verified = execFileSync(
      'sh',
      ['-c', 'openssl crl -inform DER -in "$0" -CAfile "$1" -noout 2>&1', crlFile, caFile],
      { encoding: 'utf8' },
    );
    expect(verified).toMatch(/verify OK/);
    const leaf = join(folder, 'leaf.pem');
    writeFileSync(leaf, credentials.cert);
    const pem = execFileSync('openssl', ['crl', '-inform', 'DER', '-in', crlFile], { encoding: 'utf8' });
    writeFileSync(`${crlFile}.pem`, pem);
    const check = execFileSync(
      'sh',
      [
        '-c',
        'openssl verify -crl_check -CAfile "$0" -CRLfile "$1" "$2" 2>&1 || true',
        caFile,
        `${crlFile}.pem`,
        leaf,
      ],
      { encoding: 'utf8' },
    );
    expect(check).toContain('certificate revoked');
  }
  await using hub = await startTestGateway({ folder });
  const renewal = await renewAsEdgeCore(hub.port('https'), 'edge-1', credentials);
  expect([renewal.answer.status, renewal.answer.headers['sallyport-reason']]).toEqual([401, 'revoked']);
  // The node itself is not shut out.
  const token = await hub.nodeToken('edge-1');
  expect((await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token })).answer.status).toBe(200);
  await lift(hub, { serial });
  expect((await renewAsEdgeCore(hub.port('https'), 'edge-1', credentials)).answer.status).toBe(200);
}, 30_000);

test('G7: a damaged list leaves the last good one in force, is reported, and stops a start', async () => {
  const folder = temporaryFolder();
  const { log, lines } = captureLog();
  await using hub = await startTestGateway({ folder, log });
  const token = await hub.nodeToken('edge-1');
  await revoke(hub, { node: 'edge-1' });
  const file = join(folder, 'sallyport-revocations.yaml');
  const good = readFileSync(file, 'utf8');
  const damaged = good.replace(/revocations\.json: .*/, 'revocations.json: bm90IGpzb24=');
  expect(damaged).not.toBe(good);
  writeFileSync(file, damaged, { mode: 0o600 });
  await eventually('it is noticed', async () =>
    (await goGet(hub.port('https'), '/readyz?verbose')).body
      .toString()
      .includes('[+]revocations ok (the stored list cannot be used; version 1 stays in force)'),
  );
  expect(await metricsOf(hub)).toContain('sallyport_revocation_list_usable 0');
  expect((await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token })).answer.status).toBe(403);
  await expect(revoke(hub, { node: 'edge-2' })).rejects.toMatchObject({
    code: 'SECRET_MALFORMED',
  } satisfies Partial<AdminError>);
  await expect(startTestGateway({ folder })).rejects.toMatchObject({ code: 'SECRET_MALFORMED' });
  writeFileSync(file, good, { mode: 0o600 });
  await eventually('it is mended', async () =>
    (await metricsOf(hub)).includes('sallyport_revocation_list_usable 1'),
  );
  rmSync(file);
  await eventually('the list comes back from memory', () => {
    try {
      return readFileSync(file, 'utf8').includes('revocations.json');
    } catch {
      return false;
    }
  });
  expect((await joinAsEdgeCore(hub.port('https'), { node: 'edge-1', token })).answer.status).toBe(403);
  expect(lines()).toContain('the last good one stays in force');
}, 40_000);
