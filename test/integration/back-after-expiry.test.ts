import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { captureLog } from '../support/capture-log.ts';
import { EdgeCoreSocket, goGet, makeRequest, renewAsEdgeCore } from '../support/edges/edgecore.ts';
import { metric, mintNode, storeForSdk } from '../support/fleets/gateway-views.ts';
import { writeCaSecret } from '../support/fleets/secret-files.ts';
import {
  startTestGateway,
  type TestGateway,
  type TestGatewayOptions,
} from '../support/fleets/test-gateway.ts';
import { mintCa, mintEdge } from '../support/pki/pki.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const DAY_MS = 86_400_000;
const expired = (days: number) => ({
  notBefore: new Date(Date.now() - 400 * DAY_MS),
  notAfter: new Date(Date.now() - days * DAY_MS),
});

/** A hub whose CA is older than the certificates that have expired since. */
async function startOldHub(options: TestGatewayOptions = {}): Promise<TestGateway> {
  const folder = join(temporaryFolder(), 'secrets');
  writeCaSecret(folder, await mintCa({ notBefore: new Date(Date.now() - 500 * DAY_MS) }));
  return startTestGateway({ ...options, folder });
}

/** A request for a certificate with everything EdgeCore may bring. */
async function ask(
  hub: TestGateway,
  node: string,
  { tls, token }: { tls?: { cert: string; key: string }; token?: string },
) {
  const { csr } = await makeRequest(`O=system:nodes, CN=system:node:${node}`);
  const authorization = token === undefined ? {} : { Authorization: `Bearer ${jwtOf(token)}` };
  return goGet(hub.port('https'), '/edge.crt', {
    headers: { NodeName: node, ...authorization },
    body: csr,
    ...(tls ? { tls: { cert: tls.cert, key: tls.key } } : {}),
  });
}
const jwtOf = (token: string) => token.split('.').slice(1).join('.');

describe('a node that was away too long', () => {
  test('F1: EdgeCore with a certificate that ended within the grace renews it once, audited, and connects with the new one', async () => {
    const { log, records } = captureLog();
    await using hub = await startOldHub({ log });
    const old = await mintNode(hub, 'edge-1', expired(5));
    const { answer, credentials } = await renewAsEdgeCore(hub.port('https'), 'edge-1', old);
    expect(answer.status).toBe(200);
    const fresh = new X509Certificate(answer.body);
    expect(fresh.subject).toBe('O=system:nodes\nCN=system:node:edge-1');
    const edge = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials);
    edge.socket.close();

    const again = await renewAsEdgeCore(hub.port('https'), 'edge-1', old);
    expect([again.answer.status, again.answer.headers['sallyport-reason']]).toEqual([401, 'grace-used']);
    expect(await metric(hub, 'certificates_issued_total', { how: 'grace-renewal' })).toBe(1);
    expect(records().filter(({ how }) => how === 'grace-renewal')).toMatchObject([
      { node: 'edge-1', oldSerial: old.pair.certificate.serialNumber, serial: fresh.serialNumber },
    ]);
  });

  test('F1: used once holds after a restart too', async () => {
    await using first = await startOldHub();
    const old = await mintNode(first, 'edge-1', expired(5));
    expect((await renewAsEdgeCore(first.port('https'), 'edge-1', old)).answer.status).toBe(200);
    await first.stop();
    await using second = await startTestGateway({ folder: first.folder });
    expect((await renewAsEdgeCore(second.port('https'), 'edge-1', old)).answer.status).toBe(401);
  });

  test('F1: later than the grace the answer is 401 and says since when', async () => {
    await using hub = await startOldHub();
    const old = await mintNode(hub, 'edge-1', expired(31));
    const late = (await renewAsEdgeCore(hub.port('https'), 'edge-1', old)).answer;
    expect([late.status, late.headers['sallyport-reason']]).toEqual([401, 'expired']);
    expect(late.body.toString()).toMatch(/node edge-1, expired 31 days ago.*30 days/);
    expect(late.body.toString().trim()).not.toContain('\n');
  });

  test('F1: another CA, another node and a future certificate get no grace', async () => {
    await using hub = await startOldHub();
    const stranger = await mintEdge(await mintCa(), 'edge-1', expired(5));
    expect((await ask(hub, 'edge-1', { tls: { cert: stranger.pem, key: stranger.key } })).status).toBe(401);
    const other = await mintNode(hub, 'edge-2', expired(5));
    expect((await ask(hub, 'edge-1', { tls: other })).status).toBe(403);
    const future = await mintNode(hub, 'edge-3', { notBefore: new Date(Date.now() + DAY_MS) });
    expect((await ask(hub, 'edge-3', { tls: future })).status).toBe(401);
  });

  test('F1: the SDK notices by itself: refused on WebSocket, renews once, is connected', async () => {
    await using hub = await startOldHub();
    const options = hub.edgeOptions('edge-1');
    await storeForSdk(options.directory, 'edge-1', await mintNode(hub, 'edge-1', expired(5)));
    await using edge = await EdgeClient.open(options);
    const [errors, renewed]: [Error[], Date[]] = [[], []];
    edge.on('error', (error) => void errors.push(error));
    edge.on('renewed', ({ notAfter }) => void renewed.push(notAfter));
    await edge.connect();
    expect(renewed).toHaveLength(1);
    expect(edge.notAfter.getTime()).toBeGreaterThan(Date.now());
    expect(errors[0]?.message).toContain('expired 5 days ago');
    await edge.send({ resource: 'app/back', operation: 'update', content: 1 });
  });

  test('F2: with an expired or an unknown certificate and a token in one request the token decides', async () => {
    await using hub = await startOldHub();
    const late = await mintNode(hub, 'edge-1', expired(100));
    const stranger = await mintEdge(await mintCa({ subject: 'CN=Elsewhere' }), 'edge-1');
    for (const tls of [late, { cert: stranger.pem, key: stranger.key }]) {
      expect((await ask(hub, 'edge-1', { tls })).status).toBe(401);
      const token = await hub.nodeToken('edge-1');
      const good = await ask(hub, 'edge-1', { tls, token });
      expect([good.status, good.body.toString('latin1').slice(0, 1)]).toEqual([200, '0']);
      const used = await ask(hub, 'edge-1', { tls, token });
      expect([used.status, used.headers['sallyport-reason']]).toEqual([401, 'token-used']);
    }
    // Within the grace as well: a bad token is not healed by the certificate beside it.
    const recent = await mintNode(hub, 'edge-2', expired(5));
    const bad = await ask(hub, 'edge-2', { tls: recent, token: await hub.nodeToken('edge-3') });
    expect([bad.status, bad.headers['sallyport-reason']]).toEqual([403, 'token-other-node']);
  });

  test('F3: on WebSocket an expired certificate is refused, and reported as "node X, expired D days ago"', async () => {
    const { log, records } = captureLog();
    await using hub = await startOldHub({ log });
    const old = await mintNode(hub, 'edge-1', expired(12));
    await expect(EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', old)).rejects.toThrow('401');
    expect(records().filter(({ reason }) => reason === 'expired')[0]).toMatchObject({
      node: 'edge-1',
      detail: expect.stringMatching(/^node edge-1, expired 12 days ago/),
    });
    expect(await metric(hub, 'handshake_failures_total', { transport: 'websocket', reason: 'expired' })).toBe(
      1,
    );
  });
});
