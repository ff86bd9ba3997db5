import { expect, test } from 'vitest';
import { KubeBearerReviewer } from '../../../../src/secrets/kubernetes/kube-bearer-reviewer.ts';
import { KubeApiError } from '../../../../src/secrets/kubernetes/kube-errors.ts';
import { ManualClock, settle } from '../../../fakes/manual-clock.ts';
import { capturedLog } from '../../../support/captured-log.ts';
import { KubeReviews } from '../../../support/kube/kube-reviews.ts';

const wish = { path: '/sallyport/admin', verb: 'get' };
const operator = { username: 'system:serviceaccount:kubeedge:operator', uid: 'u-1', groups: ['g'] };

function rig() {
  const clock = new ManualClock();
  const log = capturedLog();
  const reviews = new KubeReviews();
  reviews.users.set('good', operator);
  reviews.grants = [{ username: operator.username, nonResourceURLs: ['/sallyport/*'], verbs: ['get'] }];
  const calls: { path: string; body: { spec: Record<string, unknown> } }[] = [];
  let broken: (() => Promise<unknown>) | undefined;
  const call = async (request: { path: string; body?: unknown }) => {
    calls.push(request as (typeof calls)[number]);
    if (broken) return broken();
    return reviews.answer(request.path.split('/').at(-1)!, request.body as never);
  };
  const reviewer = new KubeBearerReviewer({ client: { call }, clock, log });
  return {
    clock,
    log,
    reviews,
    calls,
    reviewer,
    breakDown: (how?: () => Promise<unknown>) => {
      broken = how;
    },
  };
}

test('asks whose the token is, then whether the owner may; passes on name, uid and groups', async () => {
  const { reviewer, calls } = rig();
  expect(await reviewer.review('good', wish)).toEqual({ ok: true, name: operator.username });
  expect(calls.map(({ path }) => path)).toEqual([
    '/apis/authentication.k8s.io/v1/tokenreviews',
    '/apis/authorization.k8s.io/v1/subjectaccessreviews',
  ]);
  expect(calls[1]!.body.spec).toMatchObject({
    user: operator.username,
    uid: 'u-1',
    groups: ['g'],
    nonResourceAttributes: wish,
  });
});

test('refuses a token nobody has, and an owner without the right, telling which', async () => {
  const { reviewer } = rig();
  expect(await reviewer.review('bad', wish)).toMatchObject({ ok: false, why: 'unknown' });
  expect(await reviewer.review('good', { ...wish, verb: 'post' })).toMatchObject({
    ok: false,
    why: 'forbidden',
    detail: expect.stringContaining('may not post'),
  });
});

test('remembers an answer for half a minute at most, and asks once for many at the same time', async () => {
  const { reviewer, calls, reviews, clock } = rig();
  await Promise.all(Array.from({ length: 10 }, () => reviewer.review('good', wish)));
  expect(calls).toHaveLength(2);
  reviews.users.delete('good');
  await clock.advance(29_000);
  expect((await reviewer.review('good', wish)).ok).toBe(true);
  await clock.advance(1_000);
  expect((await reviewer.review('good', wish)).ok).toBe(false);
  reviews.users.set('good', operator);
  await clock.advance(10_000);
  expect((await reviewer.review('good', wish)).ok).toBe(true);
});

test('fails closed: no answer, a broken one, or no right to ask let nobody in, and are not remembered', async () => {
  const { reviewer, breakDown, log } = rig();
  const failures = [
    () => Promise.reject(new Error('connect ECONNREFUSED')),
    () => Promise.reject(new KubeApiError({ status: 403, reason: 'Forbidden' })),
    () => Promise.reject(new KubeApiError({ status: 500, reason: '' })),
  ];
  for (const failure of failures) {
    breakDown(failure);
    expect(await reviewer.review('good', wish)).toMatchObject({ ok: false, why: 'unavailable' });
  }
  for (const answer of [{}, { status: {} }, { status: { authenticated: 'true', user: operator } }]) {
    breakDown(async () => answer);
    expect((await reviewer.review(`good${JSON.stringify(answer).length}`, wish)).ok).toBe(false);
  }
  breakDown();
  expect((await reviewer.review('good', wish)).ok).toBe(true);
  expect(log.lines.some(({ fields }) => String(fields.problem).includes('ECONNREFUSED'))).toBe(true);
  expect(JSON.stringify(log.lines)).not.toContain('good');
});

test('strangers with made-up tokens cannot turn it against the API: what is no token is not asked, and few are asked at once', async () => {
  const { reviewer, calls, breakDown } = rig();
  for (const text of ['', 'a b', 'a\r\nb', 'ü', 'x'.repeat(9_000)])
    expect((await reviewer.review(text, wish)).ok).toBe(false);
  expect(calls).toHaveLength(0);
  breakDown(() => new Promise(() => {}));
  const answers: unknown[] = [];
  for (let index = 0; index < 100; index++)
    void reviewer.review(`t${index}`, wish).then((answer) => answers.push(answer));
  await settle();
  expect(calls).toHaveLength(20);
  expect(answers).toHaveLength(80);
  expect(answers[0]).toMatchObject({ ok: false, why: 'unavailable' });
});

const scrape = { path: '/metrics', verb: 'get' };
const relying = { relyOnLast: true };
const jwt = (claims: object) =>
  ['e30', Buffer.from(JSON.stringify(claims)).toString('base64url'), 'c2ln'].join('.');

/** A scraper that was let in once, and an API that answers nothing any more. */
async function outage({ exp }: { exp?: number } = {}) {
  const all = rig();
  const token = jwt(exp === undefined ? {} : { exp });
  all.reviews.users.set(token, operator);
  all.reviews.grants.push({ username: operator.username, nonResourceURLs: ['/metrics'], verbs: ['get'] });
  expect((await all.reviewer.review(token, scrape, relying)).ok).toBe(true);
  all.breakDown(() => Promise.reject(new Error('connect ECONNREFUSED')));
  await all.clock.advance(30_000);
  return { ...all, token };
}

test('R4: whoever could scrape before an outage can during it, however long it is; nobody else can, and nothing else is let in', async () => {
  const { reviewer, clock, token } = await outage();
  for (let day = 0; day < 30; day++) {
    expect(await reviewer.review(token, scrape, relying)).toEqual({ ok: true, name: operator.username });
    await clock.advance(86_400_000);
  }
  expect(await reviewer.review(token, scrape)).toMatchObject({ ok: false, why: 'unavailable' });
  expect(await reviewer.review(token, wish)).toMatchObject({ ok: false, why: 'unavailable' });
  expect(await reviewer.review('other', scrape, relying)).toMatchObject({ ok: false, why: 'unavailable' });
});

test('R4: a token is not relied on after it has ended by its own word', async () => {
  const exp = new ManualClock().now() / 1000 + 3_600;
  const { reviewer, clock, token } = await outage({ exp });
  await clock.advance(3_500_000);
  expect((await reviewer.review(token, scrape, relying)).ok).toBe(true);
  await clock.advance(100_000);
  expect(await reviewer.review(token, scrape, relying)).toMatchObject({ ok: false, why: 'unavailable' });
});

test('R4: a word of the API ends the reliance, also through a later outage', async () => {
  const { reviewer, clock, reviews, breakDown, token } = await outage();
  breakDown();
  reviews.users.delete(token);
  expect(await reviewer.review(token, scrape, relying)).toMatchObject({ ok: false, why: 'unknown' });
  breakDown(() => Promise.reject(new Error('connect ECONNREFUSED')));
  await clock.advance(30_000);
  expect(await reviewer.review(token, scrape, relying)).toMatchObject({ ok: false, why: 'unavailable' });
});

test('R4: a word of the API that comes too late for its scrape counts for the later ones', async () => {
  const { reviewer, clock, breakDown, token } = await outage();
  let answer = (_: unknown) => {};
  breakDown(() => new Promise((resolve) => (answer = resolve)));
  const slow = reviewer.review(token, scrape, relying);
  await clock.advance(1_000);
  expect(await slow).toMatchObject({ ok: true });
  answer({ status: { authenticated: false } });
  await clock.advance(20_000);
  breakDown(() => Promise.reject(new Error('connect ECONNREFUSED')));
  expect(await reviewer.review(token, scrape, relying)).toMatchObject({ ok: false, why: 'unavailable' });
});

test('R4: an API that swallows the question holds a scrape up for a second, and a flood of strangers does not stop it', async () => {
  const { reviewer, clock, breakDown, token } = await outage();
  breakDown(() => new Promise(() => {}));
  let answer: unknown;
  void reviewer.review(token, scrape, relying).then((verdict) => {
    answer = verdict;
  });
  await clock.advance(1_000);
  expect(answer).toMatchObject({ ok: true });
  for (let index = 0; index < 2_000; index++) void reviewer.review(`t${index}`, scrape, relying);
  const second = reviewer.review(token, scrape, relying);
  await clock.advance(1_000);
  expect(await second).toMatchObject({ ok: true });
});
