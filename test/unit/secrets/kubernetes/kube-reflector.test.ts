import { afterEach, beforeEach, expect, test } from 'vitest';
import { KubeApiError } from '../../../../src/secrets/kubernetes/kube-errors.ts';
import { type KubeObject, KubeReflector } from '../../../../src/secrets/kubernetes/kube-reflector.ts';
import { ManualClock, settle } from '../../../fakes/manual-clock.ts';

const object = (version: number): KubeObject => ({
  metadata: { name: 'web', resourceVersion: String(version) },
});
const event = (type: string, version: number) => ({ type, object: object(version) });
const expired = new KubeApiError({ status: 410, reason: 'Expired' });

/** A source whose answers the test decides. */
class FakeSource {
  readonly calls: string[] = [];
  list_: () => { object: KubeObject | undefined; version: string } = () => ({
    object: object(5),
    version: '10',
  });
  #push: ((step: { event: unknown } | { end: true } | { error: unknown }) => void) | undefined;

  async list() {
    this.calls.push('list');
    return this.list_();
  }

  async *watch(version: string, signal: AbortSignal): AsyncGenerator<unknown> {
    this.calls.push(`watch ${version}`);
    const waiting: ({ event: unknown } | { end: true } | { error: unknown })[] = [];
    let wake = () => {};
    this.#push = (step) => {
      waiting.push(step);
      wake();
    };
    signal.addEventListener('abort', () => wake());
    for (;;) {
      if (signal.aborted) throw signal.reason;
      const step = waiting.shift();
      if (!step) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      } else if ('event' in step) yield step.event;
      else if ('error' in step) throw step.error;
      else return;
    }
  }

  async send(...events: unknown[]) {
    for (const event of events) this.#push!({ event });
    await settle();
  }
  async end() {
    this.#push!({ end: true });
    await settle();
  }
  async break(error: unknown) {
    this.#push!({ error });
    await settle();
  }
}

let clock: ManualClock;
let source: FakeSource;
let reflector: KubeReflector;
let seen: (string | undefined)[];
let errors: unknown[];
let watching: boolean[];
beforeEach(() => {
  clock = new ManualClock();
  source = new FakeSource();
  seen = [];
  errors = [];
  watching = [];
});
afterEach(() => reflector.stop());

async function start(): Promise<void> {
  reflector = new KubeReflector(
    { clock, source },
    {
      onObject: (found) => seen.push(found?.metadata.resourceVersion),
      onError: (error) => errors.push(error),
      onWatching: (isUp) => watching.push(isUp),
    },
  );
  await settle();
}

test('lists, then watches from the version of the list', async () => {
  await start();
  expect(source.calls).toEqual(['list', 'watch 10']);
  await source.send(event('MODIFIED', 11), event('DELETED', 12), event('ADDED', 13));
  expect(seen).toEqual(['5', '11', undefined, '13']);
});

test('L1: says whether changes are watched: not from a failure until the next watch', async () => {
  await start();
  expect(watching).toEqual([true]);
  await source.break(new KubeApiError({ status: 403, reason: 'Forbidden' }));
  expect(watching).toEqual([true, false]);
  await clock.advance(31_000);
  expect(watching).toEqual([true, false, true]);
  await source.break(expired);
  expect(watching, 'an expired version is nothing to worry about').toEqual([true, false, true, true]);
});

test('a watch that ended in the regular way goes on where it was, bookmarks included, without a list', async () => {
  await start();
  await source.send(event('MODIFIED', 11), event('BOOKMARK', 40));
  await source.end();
  expect(source.calls).toEqual(['list', 'watch 10', 'watch 40']);
  expect(seen).toEqual(['5', '11']);
});

test('watches that end at once do not become a storm', async () => {
  await start();
  for (let second = 0; second < 120; second++) {
    await source.end();
    await clock.advance(1_000);
  }
  expect(source.calls.length).toBeLessThan(15);
});

test('an expired version is listed anew at once; should that not help, after ever longer waits', async () => {
  await start();
  await source.break(expired);
  expect(source.calls).toEqual(['list', 'watch 10', 'list', 'watch 10']);
  expect(errors).toEqual([]);
  await source.break(expired);
  expect(source.calls).toHaveLength(4);
  await clock.advance(1_000);
  expect(source.calls.slice(4)).toEqual(['list', 'watch 10']);
});

test('410 may also come as an event', async () => {
  await start();
  await source.send({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
  expect(source.calls).toEqual(['list', 'watch 10', 'list', 'watch 10']);
  expect(errors).toEqual([]);
});

test.each([
  ['reset', new Error('ECONNRESET')],
  ['403', new KubeApiError({ status: 403, reason: 'Forbidden' })],
  ['429', new KubeApiError({ status: 429, reason: 'TooManyRequests' })],
  ['500', new KubeApiError({ status: 500, reason: 'InternalError' })],
  ['an event that is none', undefined],
])('A2: after %s it is reported, and everything is listed again after 0.5–1 s', async (_, error) => {
  await start();
  if (error) await source.break(error);
  else await source.send({ type: 'HELLO' });
  expect(errors).toHaveLength(1);
  await clock.advance(499);
  expect(source.calls).toHaveLength(2);
  await clock.advance(501);
  expect(source.calls).toEqual(['list', 'watch 10', 'list', 'watch 10']);
});

test('A2: while the API is away it asks for ever, at most every 15–30 s, and catches up when it is back', async () => {
  source.list_ = () => {
    throw new KubeApiError({ status: 500, reason: 'InternalError' });
  };
  await start();
  await clock.advance(3_600_000);
  expect(source.calls.length).toBeGreaterThan(3_600 / 30);
  expect(source.calls.length).toBeLessThan(3_600 / 15 + 10);
  source.list_ = () => ({ object: object(7), version: '70' });
  await clock.advance(30_000);
  expect(seen).toEqual(['7']);
  expect(source.calls.at(-1)).toBe('watch 70');
});

test('waits at least as long as the API asks', async () => {
  await start();
  await source.break(new KubeApiError({ status: 429, reason: 'TooManyRequests', retryAfterMs: 60_000 }));
  await clock.advance(59_999);
  expect(source.calls).toHaveLength(2);
  await clock.advance(1);
  expect(source.calls).toHaveLength(4);
});

test('after a long good watch a failure is a first one again', async () => {
  await start();
  for (let n = 0; n < 6; n++) {
    await clock.advance(60_000);
    await source.break(new Error('reset'));
    await clock.advance(1_000);
    expect(source.calls).toHaveLength(2 * n + 4);
  }
});

test('what is older than what is known is passed over', async () => {
  await start();
  await source.send(event('MODIFIED', 20), event('MODIFIED', 9), event('DELETED', 19));
  expect(seen).toEqual(['5', '20']);
});

test('after a restore of the cluster the list counts, though its version is lower', async () => {
  await start();
  source.list_ = () => ({ object: object(2), version: '3' });
  await source.break(expired);
  expect(seen).toEqual(['5', '2']);
  expect(source.calls.at(-1)).toBe('watch 3');
});

test('B6: a full read finds what a silent watch does not tell, and the watch begins anew', async () => {
  await start();
  source.list_ = () => ({ object: object(30), version: '31' });
  await reflector.resync();
  await settle();
  expect(seen[1]).toBe('30');
  expect(source.calls).toEqual(['list', 'watch 10', 'list', 'watch 31']);
  source.list_ = () => ({ object: undefined, version: '50' });
  await reflector.resync();
  await settle();
  expect(seen.at(-1)).toBeUndefined();
  expect(source.calls.at(-1)).toBe('watch 50');
  expect(errors).toEqual([]);
});

test('a full read that finds nothing new leaves the watch alone', async () => {
  await start();
  source.list_ = () => ({ object: object(5), version: '500' });
  await reflector.resync();
  await settle();
  expect(source.calls).toEqual(['list', 'watch 10', 'list']);
  await source.send(event('MODIFIED', 501));
  expect(seen.at(-1)).toBe('501');
});

test('stop is final, at any moment', async () => {
  await start();
  await reflector.stop();
  const before = source.calls.length;
  await clock.advance(120_000);
  expect(source.calls).toHaveLength(before);
  expect(errors).toEqual([]);
  expect(clock.pending).toBe(0);
});

test('stop ends a back-off at once', async () => {
  await start();
  await source.break(new Error('reset'));
  await reflector.stop();
  await clock.advance(120_000);
  expect(source.calls).toHaveLength(2);
  expect(clock.pending).toBe(0);
});
