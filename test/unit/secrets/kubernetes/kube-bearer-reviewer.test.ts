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
