import { readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { captureLog } from '../support/capture-log.ts';
import { goGet, joinAsEdgeCore, makeRequest } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';

const join2 = (hub: TestGateway, node: string, token: string) =>
  joinAsEdgeCore(hub.port('https'), { node, token }).then(({ answer }) => answer);
const create = async (hub: TestGateway, body: object) =>
  (await hub.admin.post<{ token: string }>('/api/v1/tokens', body)).token;
const reason = (answer: { status: number; headers: Readonly<Record<string, string>> }) => [
  answer.status,
  answer.headers['sallyport-reason'],
];

/** The stored fleet token and what is left of it; undefined while the file cannot be read. */
function storedToken(folder: string): { text: string; leftMs: number; lifeMs: number } | undefined {
  try {
    const { data } = parse(readFileSync(join(folder, 'tokensecret.yaml'), 'utf8')) as {
      data: { tokendata: string };
    };
    const text = Buffer.from(data.tokendata, 'base64').toString();
    const { exp, iat } = JSON.parse(Buffer.from(text.split('.')[2]!, 'base64url').toString());
    return { text, leftMs: exp * 1000 - Date.now(), lifeMs: (exp - iat) * 1000 };
  } catch {
    return undefined;
  }
}

describe('enrolment tokens over two gateways', () => {
  test('E8: "revoke all" holds on every gateway within 10 s, for node and fleet tokens; new ones work', async () => {
    // The test asks again and again.
    const settings = { 'limits.enrolmentsPerMinutePerIp': '100000', 'limits.enrolmentsPerMinute': '100000' };
    await using one = await startTestGateway({ settings });
    await using two = await startTestGateway({ folder: one.folder, settings });
    const fleet = await create(one, { fleet: true });
    const nodeTokens = await Promise.all([1, 2].map((n) => create(one, { node: `edge-${n}` })));
    // Both know the state and would go on believing it.
    for (const hub of [one, two]) expect((await join2(hub, 'edge-9', fleet)).status).toBe(200);
    await one.admin.post('/api/v1/tokens/revoke-all');
    const start = Date.now();
    expect(reason(await join2(one, 'edge-1', nodeTokens[0]!))).toEqual([401, 'token-revoked']);
    await eventually(
      'the other gateway refuses the fleet token',
      async () => (await join2(two, 'edge-8', fleet)).headers['sallyport-reason'] === 'token-revoked',
    );
    expect(reason(await join2(two, 'edge-2', nodeTokens[1]!))).toEqual([401, 'token-revoked']);
    expect(Date.now() - start).toBeLessThan(3 * 10_000);
    const next = await create(two, { fleet: true });
    expect(next).not.toBe(fleet);
    for (const hub of [one, two]) expect((await join2(hub, 'edge-7', next)).status).toBe(200);
  });

  test('E3: two gateways keep one fleet token, written once an interval, good on both', async () => {
    const settings = { 'tokens.fleetTtlMs': '6000' };
    await using one = await startTestGateway({ settings });
    await using two = await startTestGateway({ folder: one.folder, settings });
    const seen = new Map<string, number>();
    await eventually('the token was renewed', () => {
      const stored = storedToken(one.folder);
      if (stored && !seen.has(stored.text)) seen.set(stored.text, Date.now());
      return seen.size === 3;
    });
    const [, second, third] = [...seen.values()];
    expect(third! - second!).toBeGreaterThan(1_000);
    const [latest] = [...seen.keys()].slice(-1);
    expect((await join2(one, 'edge-1', latest!)).status).toBe(200);
    expect((await join2(two, 'edge-2', latest!)).status).toBe(200);
  });
});

describe('enrolment tokens of one gateway', () => {
  test('E1: the store is away at a refresh: tried again, and what stands there before and after has half its life', async () => {
    const { log, records } = captureLog();
    await using hub = await startTestGateway({ log, settings: { 'tokens.fleetTtlMs': '8000' } });
    await eventually('a fleet token is stored', () => storedToken(hub.folder) !== undefined);
    const first = storedToken(hub.folder)!;
    expect(first.leftMs).toBeGreaterThan(first.lifeMs / 2);
    const aside = `${hub.folder}-aside`;
    renameSync(hub.folder, aside);
    symlinkSync(hub.folder, hub.folder);
    await eventually('the refresh failed and is tried again', () =>
      records().some(({ msg }) => msg === 'fleet token could not be checked; trying again'),
    );
    rmSync(hub.folder);
    renameSync(aside, hub.folder);
    let least = 1;
    await eventually('a new one is stored', () => {
      const stored = storedToken(hub.folder)!;
      least = Math.min(least, stored.leftMs / stored.lifeMs);
      return stored.text !== first.text;
    });
    expect(least).toBeGreaterThan(0.5 - 0.01);
    expect((await join2(hub, 'edge-1', storedToken(hub.folder)!.text)).status).toBe(200);
  });

  test('E7: an expired token is told when it expired and what the clock of the hub says, and is never echoed', async () => {
    await using hub = await startTestGateway();
    const token = await create(hub, { node: 'edge-1', ttlMs: 1_000 });
    let answer = await goGet(hub.port('https'), '/livez');
    await eventually('it has expired', async () => {
      const { csr } = await makeRequest('O=system:nodes, CN=system:node:edge-1');
      answer = await goGet(hub.port('https'), '/edge.crt', {
        // For another node: refused in any case, and not used up.
        headers: { NodeName: 'edge-2', Authorization: `Bearer ${token.split('.').slice(1).join('.')}` },
        body: csr,
      });
      return answer.status === 401;
    });
    const text = answer.body.toString();
    expect(reason(answer)).toEqual([401, 'token-expired']);
    expect(text).toMatch(/expired at \d{4}-\d\d-\d\dT[\d:]+.*clock of this hub says \d{4}-/);
    for (const part of token.split('.')) expect(text).not.toContain(part);
  });
});
