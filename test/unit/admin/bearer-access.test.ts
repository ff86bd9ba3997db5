import { expect, test } from 'vitest';
import type { AccessWish, BearerReviewer, BearerVerdict } from '../../../src/contracts/bearer-reviewer.ts';
import { ManualClock, settle } from '../../fakes/manual-clock.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { mintEdge } from '../../support/pki/pki.ts';
import { startAdmin } from './admin-fixture.ts';

class FakeReviewer implements BearerReviewer {
  readonly asked: (AccessWish & { token: string })[] = [];
  verdict: BearerVerdict = { ok: true, name: 'operator' };
  /** Verbs that are forbidden, whatever the verdict. */
  forbidden: readonly string[] = [];

  async review(token: string, wish: AccessWish): Promise<BearerVerdict> {
    this.asked.push({ token, ...wish });
    if (this.forbidden.includes(wish.verb)) return { ok: false, why: 'forbidden', detail: `no ${wish.verb}` };
    return this.verdict;
  }
}
const bearer = (token = 'secret-token') => ({
  as: undefined,
  headers: { authorization: `Bearer ${token}` },
});
const codeOf = (answer: { json: unknown }) => (answer.json as { error: { code: string } }).error.code;

test('a bearer token lets its owner in without a certificate; Prometheus needs another right than operators', async () => {
  const [reviewer, log] = [new FakeReviewer(), capturedLog()];
  await using hub = await startAdmin({ reviewer, log });
  expect((await hub.get('/metrics', bearer())).status).toBe(200);
  expect((await hub.get('/api/v1/info', bearer())).status).toBe(200);
  expect((await hub.post('/api/v1/certificates/hub/rotate', undefined, bearer())).status).toBe(200);
  expect(reviewer.asked.map(({ verb, path }) => `${verb} ${path}`)).toEqual([
    'get /metrics',
    'get /sallyport/admin',
    // What role the caller has, which the answer says.
    'post /sallyport/admin',
    'post /sallyport/admin',
  ]);
  const action = log.lines.find(({ message }) => message === 'admin action')!;
  expect(action.fields.admin).toBe('operator');
  expect(JSON.stringify(log.lines)).not.toContain('secret-token');
});

test('each refusal has its status and code, and is counted', async () => {
  const reviewer = new FakeReviewer();
  await using hub = await startAdmin({ reviewer });
  const cases = [
    ['unknown', 401, 'BEARER_REFUSED'],
    ['forbidden', 403, 'BEARER_FORBIDDEN'],
    ['unavailable', 503, 'BEARER_UNAVAILABLE'],
  ] as const;
  for (const [why, status, code] of cases) {
    reviewer.verdict = { ok: false, why, detail: 'because' };
    for (const path of ['/metrics', '/api/v1/info', '/nothing']) {
      const answer = await hub.get(path, bearer());
      expect([answer.status, codeOf(answer)]).toEqual([status, code]);
    }
    expect(await hub.metrics.expose()).toContain(
      `sallyport_handshake_failures_total{transport="admin",reason="bearer-${why}"} 3`,
    );
  }
});

test('an admin certificate needs no token, and without a cluster no token helps', async () => {
  const reviewer = new FakeReviewer();
  reviewer.verdict = { ok: false, why: 'unavailable', detail: 'the API is away' };
  await using hub = await startAdmin({ reviewer });
  expect((await hub.get('/api/v1/info')).status).toBe(200);
  expect(reviewer.asked).toEqual([]);
  await using alone = await startAdmin();
  const answer = await alone.get('/api/v1/info', bearer());
  expect([answer.status, codeOf(answer)]).toEqual([401, 'NOT_AUTHENTICATED']);
});

test('an edge certificate beside a token neither helps nor harms it', async () => {
  const reviewer = new FakeReviewer();
  await using hub = await startAdmin({ reviewer });
  const as = await mintEdge(hub.ca, 'edge-1');
  expect((await hub.get('/api/v1/info', { ...bearer(), as })).status).toBe(200);
  reviewer.verdict = { ok: false, why: 'unknown', detail: 'nobody knows it' };
  expect((await hub.get('/api/v1/info', { ...bearer(), as })).status).toBe(401);
});

test('a stream of events ends when its token is not good any more', async () => {
  const [reviewer, clock] = [new FakeReviewer(), new ManualClock(Date.now())];
  await using hub = await startAdmin({ reviewer, clock, options: { heartbeatMs: 1_000 } });
  const stream = hub.get('/api/v1/events', bearer());
  while (hub.bus.followers.size === 0) await settle();
  await clock.advance(1_000);
  expect(hub.bus.followers.size).toBe(1);
  reviewer.verdict = { ok: false, why: 'unknown', detail: 'revoked' };
  await clock.advance(1_000);
  expect(hub.bus.followers.size).toBe(0);
  expect((await stream).body.toString()).toContain('not allowed any longer');
});

test('P4: of whoever follows what is sent to nodes, the token needs the verb of an operator, as long as it is followed', async () => {
  const [reviewer, clock] = [new FakeReviewer(), new ManualClock(Date.now())];
  await using hub = await startAdmin({ reviewer, clock, options: { heartbeatMs: 1_000 } });
  const stream = hub.get('/api/v1/events?direction=downstream', bearer());
  while (hub.bus.followers.size === 0) await settle();
  expect(reviewer.asked).toMatchObject([{ verb: 'post' }]);
  reviewer.forbidden = ['post'];
  await clock.advance(1_000);
  expect(hub.bus.followers.size).toBe(0);
  expect((await stream).body.toString()).toContain('not allowed any longer');
  const refused = await hub.get('/api/v1/events?direction=downstream', bearer());
  expect([refused.status, codeOf(refused)]).toEqual([403, 'BEARER_FORBIDDEN']);
});

test('P4: whose token has the verb get alone is a viewer: told so, and refused changes with the role that is needed', async () => {
  const reviewer = new FakeReviewer();
  await using hub = await startAdmin({ reviewer });
  const roleOf = async () => (await hub.get('/api/v1/info', bearer())).json;
  expect(await roleOf()).toMatchObject({ caller: { name: 'operator', role: 'operator' } });
  reviewer.forbidden = ['post'];
  expect(await roleOf()).toMatchObject({ caller: { role: 'viewer' } });
  const refused = await hub.post('/api/v1/tokens/revoke-all', undefined, bearer());
  expect([refused.status, hub.calls]).toEqual([403, []]);
  expect(refused.json).toMatchObject({
    error: {
      code: 'BEARER_FORBIDDEN',
      message: expect.stringContaining('needs the role operator'),
      fix: expect.stringContaining('NAMESPACE-sallyport-operator'),
    },
  });
});
