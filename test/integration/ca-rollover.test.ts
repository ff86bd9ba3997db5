import { execFile } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { CaRolloverStatus } from '../../src/contracts/ca-rollover.ts';
import { closeReason } from '../../src/protocol/close-reasons.ts';
import type { TransportName } from '../../src/protocol/listener-names.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { EdgeCoreSocket, goGet, joinAsEdgeCore, renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { readCa } from '../support/fleets/secret-files.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';

const API = '/api/v1/ca/rollover';
const status = (hub: TestGateway) => hub.admin.get<CaRolloverStatus>(API);
const step = (hub: TestGateway, name: string, force = false) =>
  hub.admin.post<CaRolloverStatus>(`${API}/${name}`, { force });

/** Whether a TLS client that knows only this CA believes the hub. */
function verifies(hub: TestGateway, port: 'https' | 'websocket', ca: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: hub.port(port), servername: 'localhost', ca }, () => {
      resolve(socket.authorized);
      socket.destroy();
    });
    socket.on('error', () => resolve(false));
  });
}

const servedCa = async (hub: TestGateway) =>
  new X509Certificate((await goGet(hub.port('https'), '/ca.crt')).body);
const sha256 = (certificate: X509Certificate) => createHash('sha256').update(certificate.raw).digest('hex');

async function joinSdk(hub: TestGateway, node: string, transport: TransportName) {
  const options = { ...hub.edgeOptions(node), transport };
  const client = await EdgeClient.join({ ...options, token: await hub.nodeToken(node) });
  const drops: string[] = [];
  await client.connect();
  client.on('disconnected', ({ reason }) => void drops.push(reason?.name ?? 'gone'));
  return { client, drops, node };
}

test('C1, C3, C4, G9: a whole rollover: nodes on every transport and an EdgeCore stay connected until the old CA is revoked, and nobody has to join again', async () => {
  await using hub = await startTestGateway({
    settings: {
      'quic.enabled': 'true',
      'webtransport.enabled': 'true',
      'hub.expiryGraceMs': '300',
      // This EdgeCore is silent.
      'hub.keepaliveTimeoutMs': '600000',
      'limits.enrolmentsPerMinutePerIp': '100000',
    },
  });
  const old = readCa(hub.folder);
  const edges = [];
  for (const transport of ['websocket', 'quic', 'webtransport'] as const)
    edges.push(await joinSdk(hub, `edge-${transport}`, transport));
  const edgeCore = await joinAsEdgeCore(hub.port('https'), {
    node: 'edge-core',
    token: await hub.nodeToken('edge-core'),
  });
  let core = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-core', edgeCore.credentials);
  const coreClosed: string[] = [];
  core.socket.on('close', () => void coreClosed.push('before its renewal'));
  try {
    // prepare
    const prepared = await step(hub, 'prepare');
    expect(prepared).toMatchObject({ phase: 'prepared', old: { sha256: old.sha256 } });
    expect(sha256(await servedCa(hub))).toBe(old.sha256);

    // activate
    const active = await step(hub, 'activate');
    const next = await servedCa(hub);
    expect(active).toMatchObject({ phase: 'active', new: { sha256: sha256(next) } });
    expect((await hub.nodeToken('edge-new')).split('.')[0]).toBe(sha256(next));
    for (const port of ['https', 'websocket'] as const)
      for (const ca of [old.pem, next.toString()]) expect(await verifies(hub, port, ca)).toBe(true);
    const joined = await joinSdk(hub, 'edge-joined-later', 'quic');
    edges.push(joined);
    expect(await status(hub)).toMatchObject({
      nodes: { total: 5, old: 4, new: 1, dependent: 4 },
      summary: expect.stringContaining('1 of 5 nodes have a certificate of the new CA; '),
    });

    // retire: refused while nodes depend, which are asked
    await expect(step(hub, 'retire')).rejects.toMatchObject({ code: 'ROLLOVER_BLOCKED' });
    await eventually(
      'nodes with the SDK have renewed',
      async () => (await status(hub)).nodes.dependent === 1,
    );
    await expect(step(hub, 'retire')).rejects.toThrow(
      /1 of 5 nodes depends on the old CA: edge-core connected/,
    );

    // an unmodified EdgeCore renews in its own time, and comes back
    const renewed = await renewAsEdgeCore(hub.port('https'), 'edge-core', edgeCore.credentials);
    expect(renewed.answer.status).toBe(200);
    expect(coreClosed).toEqual([]);
    core.socket.removeAllListeners('close').close();
    core = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-core', renewed.credentials);
    core.socket.on('close', () => void coreClosed.push('after it'));
    await eventually('nobody depends on the old CA', async () => (await status(hub)).nodes.dependent === 0);
    const trustOf = async (name: string) =>
      (await status(hub)).items.find(({ node }) => node === name)?.trusts.join();
    expect(await trustOf('edge-core')).toBe('old');

    // it joins again, and has the CA of that moment
    core.socket.removeAllListeners('close').close();
    const token = await hub.nodeToken('edge-core');
    await eventually(
      'its session has ended',
      async () => (await status(hub)).items.find(({ node }) => node === 'edge-core')?.connected === false,
    );
    const rejoined = await joinAsEdgeCore(hub.port('https'), { node: 'edge-core', token });
    core = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-core', rejoined.credentials);
    core.socket.on('close', () => void coreClosed.push('after it joined again'));
    await eventually('it is known to', async () => (await trustOf('edge-core')) === 'new');
    expect(await step(hub, 'retire')).toMatchObject({ phase: 'retiring' });

    // revoke
    const revoked = await step(hub, 'revoke');
    expect(revoked).toMatchObject({ phase: 'idle', issuing: { sha256: sha256(next) } });
    expect(readCa(hub.folder).sha256).toBe(sha256(next));
    expect([...edges.flatMap(({ drops }) => drops), ...coreClosed]).toEqual([]);
    // Who knows only the old CA, as every EdgeCore does, goes on verifying the hub.
    for (const ca of [old.pem, next.toString()]) expect(await verifies(hub, 'websocket', ca)).toBe(true);
    const again = await renewAsEdgeCore(hub.port('https'), 'edge-core', rejoined.credentials);
    expect(again.answer.status).toBe(200);
    const late = await renewAsEdgeCore(hub.port('https'), 'edge-core', edgeCore.credentials);
    expect(late.answer.status).toBe(401);
  } finally {
    core.socket.terminate();
    for (const { client } of edges) await client.close();
  }
}, 120_000);

test('C1: the way back from each phase: nodes of either CA stay, and those that got certificates of the new one are asked back', async () => {
  await using hub = await startTestGateway();
  const old = readCa(hub.folder);
  const before = await joinSdk(hub, 'edge-before', 'websocket');
  let after: typeof before | undefined;
  try {
    for (const steps of [['prepare'], ['prepare', 'activate']]) {
      for (const name of steps) await step(hub, name);
      if (steps.length > 1) after = await joinSdk(hub, 'edge-after', 'websocket');
      for (const _ of steps.slice(1)) expect(await step(hub, 'abort')).toMatchObject({ phase: 'prepared' });
      await eventually('nobody depends on the new CA', async () => (await status(hub)).nodes.dependent === 0);
      expect(await step(hub, 'abort')).toMatchObject({ phase: 'idle' });
      expect(sha256(await servedCa(hub))).toBe(old.sha256);
      expect(await verifies(hub, 'websocket', old.pem)).toBe(true);
    }
    expect([...before.drops, ...after!.drops]).toEqual([]);
    expect(readCa(hub.folder).sha256).toBe(old.sha256);
  } finally {
    await before.client.close();
    await after?.client.close();
  }
}, 60_000);

test('G9: revoke by force ends the sessions of nodes on the old CA within the grace, and says why; the others stay', async () => {
  await using hub = await startTestGateway({ settings: { 'hub.expiryGraceMs': '500' } });
  const joinCore = async (node: string) => {
    const { credentials } = await joinAsEdgeCore(hub.port('https'), {
      node,
      token: await hub.nodeToken(node),
    });
    const edge = await EdgeCoreSocket.open(hub.port('websocket'), node, credentials);
    const closes: number[] = [];
    edge.socket.on('close', (code) => void closes.push(code));
    return { edge, closes };
  };
  const left = await joinCore('edge-left-behind');
  await step(hub, 'prepare');
  await step(hub, 'activate');
  const moved = await joinCore('edge-moved');
  await expect(step(hub, 'revoke', true)).rejects.toMatchObject({ code: 'ROLLOVER_PHASE' });
  await step(hub, 'retire', true);
  await expect(step(hub, 'revoke')).rejects.toThrow(/1 of 2 nodes depends on the old CA: edge-left-behind/);
  expect(left.closes).toEqual([]);
  await step(hub, 'revoke', true);
  await eventually('its session has ended', () => left.closes.length === 1);
  expect(left.closes).toEqual([closeReason('TrustRemoved').code]);
  expect(moved.closes).toEqual([]);
  moved.edge.socket.terminate();
}, 60_000);

test('C1: what the hub presents during a rollover satisfies openssl with the old CA alone and with the new CA alone', async () => {
  await using hub = await startTestGateway();
  const old = readCa(hub.folder);
  await step(hub, 'prepare');
  await step(hub, 'activate');
  const next = (await servedCa(hub)).toString();
  for (const ca of [old.pem, next]) {
    const file = join(hub.folder, 'one-ca.pem');
    writeFileSync(file, ca);
    const openssl = promisify(execFile)('openssl', [
      's_client',
      ...['-connect', `127.0.0.1:${hub.port('https')}`, '-servername', 'localhost'],
      ...[
        '-CAfile',
        file,
        '-no-CApath',
        '-no-CAstore',
        '-verify_hostname',
        'localhost',
        '-verify_return_error',
      ],
    ]);
    openssl.child.stdin!.end();
    const { stdout } = await openssl;
    expect(stdout).toMatch(/Verif(y return code: 0 \(ok\)|ication: OK)/);
  }
}, 60_000);
