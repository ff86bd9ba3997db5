import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Rejection } from '../../src/contracts/rejections.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { parseFacts } from '../../src/protocol/peer-facts.ts';
import { QuicTransport } from '../../src/sdk/transports/quic-transport.ts';
import { WebSocketTransport } from '../../src/sdk/transports/websocket-transport.ts';
import { WebTransportTransport } from '../../src/sdk/transports/webtransport-transport.ts';
import { captureLog } from '../support/capture-log.ts';
import { goGet, makeRequest } from '../support/edges/edgecore.ts';
import { metric, mintNode } from '../support/fleets/gateway-views.ts';
import { sallyport } from '../support/fleets/process.ts';
import { writeCaSecret } from '../support/fleets/secret-files.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { mintCa, mintEdge } from '../support/pki/pki.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const DAY_MS = 86_400_000;
const daysAgo = (days: number) => new Date(Date.now() - days * DAY_MS);
const { log, records } = captureLog();
let hub: TestGateway;
beforeAll(async () => {
  const folder = join(temporaryFolder(), 'secrets');
  writeCaSecret(folder, await mintCa({ notBefore: daysAgo(500) }));
  hub = await startTestGateway({
    log,
    folder,
    settings: { 'quic.enabled': 'true', 'webtransport.enabled': 'true' },
  });
});
afterAll(() => hub[Symbol.asyncDispose]());

const rejections = async () => (await hub.admin.get<{ items: Rejection[] }>('/api/v1/rejections')).items;

type Credentials = Awaited<ReturnType<typeof mintNode>>;

/** What an edge is told on a transport of the SDK. */
async function refusalOn(
  transport: 'websocket' | 'quic' | 'webtransport',
  node: string,
  { ca, cert, key }: Pick<Credentials, 'ca' | 'cert' | 'key'>,
): Promise<string> {
  const [components, options] = [
    { clock: systemClock, logger: silentLogger },
    { address: `localhost:${hub.port(transport)}` },
  ];
  const made = {
    websocket: () => new WebSocketTransport(components, options),
    quic: () => new QuicTransport(components, options),
    webtransport: () => new WebTransportTransport(components, options),
  }[transport]();
  const connecting = made.connect(
    { node, ca, certificate: cert, key },
    {
      projectId: 'p',
      agent: 'test',
      maxMessageBytes: 1_024,
      connectTimeoutMs: 10_000,
      writeTimeoutMs: 10_000,
      signal: AbortSignal.timeout(15_000),
    },
  );
  return connecting.then(
    () => 'let in',
    (error: Error) => error.message,
  );
}

describe('one word for a refusal, wherever it is read', () => {
  test('before anybody knocked nothing is remembered: the self-test of the gateway is nobody who was refused', async () => {
    expect(await rejections()).toEqual([]);
  });

  test.each(['websocket', 'quic', 'webtransport'] as const)(
    'L2, G7: revoked on %s: answer, log, metric and list',
    async (transport) => {
      const node = `stolen-${transport}`;
      await hub.admin.post('/api/v1/revocations', { node });
      const told = await refusalOn(transport, node, await mintNode(hub, node));
      expect(told).toContain('revoked');
      const [found] = (await rejections()).filter((one) => one.node === node);
      expect(found).toMatchObject({
        node,
        reason: 'revoked',
        listener: transport,
        remoteAddress: '127.0.0.1',
        count: 1,
        fix: expect.stringContaining('sallyport lift'),
      });
      expect(found).not.toHaveProperty('claimedNode');
      expect(records().find((line) => line.node === node && line.listener === transport)).toMatchObject({
        reason: 'revoked',
      });
      const labels = { transport, reason: 'revoked' };
      expect(await metric(hub, 'handshake_failures_total', labels)).toBe(1);
    },
  );

  test('F3, L2: an expired certificate is told since when and what the hub’s clock says, for programs too', async () => {
    const old = await mintNode(hub, 'old-1', { notBefore: daysAgo(400), notAfter: daysAgo(45) });
    const { csr } = await makeRequest('O=system:nodes, CN=system:node:old-1');
    const renewal = await goGet(hub.port('https'), '/edge.crt', {
      headers: { NodeName: 'old-1' },
      body: csr,
      tls: { cert: old.cert, key: old.key },
    });
    const upgrade = await goGet(hub.port('websocket'), '/', { tls: { cert: old.cert, key: old.key } });
    for (const answer of [renewal, upgrade]) {
      expect([answer.status, answer.headers['sallyport-reason']]).toEqual([401, 'expired']);
      const { hubTime, notAfter } = parseFacts(String(answer.headers['sallyport-facts']));
      expect(Math.abs(hubTime! - Date.now())).toBeLessThan(60_000);
      expect(notAfter).toBe(old.pair.certificate.validToDate.getTime());
    }
    const found = (await rejections()).filter(({ node }) => node === 'old-1');
    expect(found.map(({ listener, reason }) => `${listener} ${reason}`).sort()).toEqual([
      'https expired',
      'websocket expired',
    ]);
    expect(found[0]!.facts?.notAfter).toBe(old.pair.certificate.validToDate.toISOString());
    expect(await metric(hub, 'enrolment_refused_total', { reason: 'expired' })).toBe(1);
  });

  test('not valid yet, with the hub’s clock, in the close text of WebTransport’s refusal and the header', async () => {
    const early = await mintNode(hub, 'early-1', {
      notBefore: new Date(Date.now() + 2 * 3_600_000),
      notAfter: new Date(Date.now() + DAY_MS),
    });
    const answer = await goGet(hub.port('websocket'), '/', { tls: { cert: early.cert, key: early.key } });
    expect(answer.headers['sallyport-reason']).toBe('not-yet-valid');
    expect(parseFacts(String(answer.headers['sallyport-facts'])).notBefore).toBe(
      early.pair.certificate.validFromDate.getTime(),
    );
    expect(await refusalOn('webtransport', 'early-1', early)).toContain('valid only from');
  });

  test('an unknown issuer: the expected one is told; the name it claims is marked as a claim', async () => {
    const rogue = await mintEdge(await mintCa({ subject: 'CN=rogue' }), 'victim');
    const answer = await goGet(hub.port('websocket'), '/', { tls: { cert: rogue.pem, key: rogue.key } });
    expect([answer.status, answer.headers['sallyport-reason']]).toEqual([401, 'unknown-ca']);
    const { caSha256 } = hub.gateway.ready();
    expect(parseFacts(String(answer.headers['sallyport-facts'])).expectedIssuersSha256).toEqual([caSha256]);
    const [found] = (await rejections()).filter(({ reason }) => reason === 'unknown-ca');
    expect(found).toMatchObject({
      claimedNode: 'victim',
      facts: { presentedIssuer: 'CN=rogue', expectedIssuersSha256: [caSha256] },
    });
    expect(found).not.toHaveProperty('node');
  });

  test('E5: a token for another node: the same word in answer, log, metric and list, and the name is a claim', async () => {
    const token = await hub.nodeToken('edge-1');
    const { csr } = await makeRequest('O=system:nodes, CN=system:node:edge-2');
    const answer = await goGet(hub.port('https'), '/edge.crt', {
      headers: { NodeName: 'edge-2', Authorization: `Bearer ${token.split('.').slice(1).join('.')}` },
      body: csr,
    });
    expect([answer.status, answer.headers['sallyport-reason']]).toEqual([403, 'token-other-node']);
    const found = (await rejections()).filter(({ reason }) => reason === 'token-other-node');
    expect(found).toMatchObject([{ claimedNode: 'edge-2', listener: 'https', count: 1 }]);
    expect(found[0]).not.toHaveProperty('node');
    expect(records().find(({ reason }) => reason === 'token-other-node')).toBeDefined();
    expect(await metric(hub, 'enrolment_refused_total', { reason: 'token-other-node' })).toBe(1);
    expect(JSON.stringify(await rejections())).not.toContain(token.split('.')[1]);
  });

  test('`nodes rejected` shows it, a claim with a question mark, and what to do for each reason', async () => {
    const run = (...args: string[]) =>
      sallyport([
        'nodes',
        'rejected',
        '--admin',
        hub.gateway.ready().admin!,
        '--set',
        `secretStore.path=${hub.folder}`,
        ...args,
      ]);
    const table = await run();
    expect(table.code).toBe(0);
    expect(table.stdout).toMatch(/^NODE +ADDRESS +LISTENER +REASON +COUNT/);
    expect(table.stdout).toMatch(/^\?victim .* websocket +unknown-ca/m);
    expect(table.stdout).toMatch(/^stolen-quic .* quic +revoked/m);
    expect(table.stderr).toContain('revoked: see `sallyport revocations list`');
    const json = await run('--reason', 'revoked', '-o', 'json');
    const items = JSON.parse(json.stdout) as Rejection[];
    expect(new Set(items.map(({ reason }) => reason))).toEqual(new Set(['revoked']));
    expect(items).toHaveLength(3);
  });
});
