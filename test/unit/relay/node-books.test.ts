import { beforeEach, describe, expect, test } from 'vitest';
import { createMessage, type MessageRoute } from '../../../src/protocol/message.ts';
import { NodeBooks } from '../../../src/relay/node-books.ts';

let books: NodeBooks;
let dropped: Record<string, number>;
beforeEach(() => {
  dropped = {};
  books = new NodeBooks({ onDropped: (reason, count) => (dropped[reason] = (dropped[reason] ?? 0) + count) });
});

interface Said {
  readonly at?: number;
  readonly isSent?: boolean;
  readonly bytes?: number;
  readonly content?: unknown;
}

function say(
  id: string,
  route: MessageRoute,
  { at = 0, isSent = false, bytes = id.length, content }: Said = {},
) {
  const message = createMessage({ source: 'edged', ...route }, content ?? null, { now: 0, id });
  const text = Buffer.alloc(bytes, 0x20);
  text.write(id);
  books.enter(message, text, { now: at, isSent });
}
const query = (id: string, more?: Said) =>
  say(id, { operation: 'query', resource: `a/configmap/${id}` }, more);
const patch = (id: string, more?: Said) =>
  say(id, { operation: 'patch', resource: 'null/nodepatch/n' }, more);
const watch = (id: string) =>
  say(
    id,
    { source: 'metaserver', resource: 'null' },
    { isSent: true, content: { ID: `w-${id}`, Verb: 'watch' } },
  );
const replayed = (now: number) =>
  books.replay(now).map(({ kind, bytes }) => `${kind} ${Buffer.from(bytes).toString().trim()}`);

describe('the books of a node', () => {
  test('U2: what is said again: the last question for devices, watches, questions, then what was held', () => {
    say('event', { operation: 'insert', resource: 'a/event/e' });
    query('q');
    watch('w');
    for (const id of ['m-1', 'm-2'])
      say(id, { source: 'twin', operation: 'get', resource: 'membership/detail' }, { isSent: true });
    expect(replayed(0)).toEqual(['membership m-2', 'watch w', 'question q', 'held event']);
    // It stays for the next time, but for what was held.
    expect(replayed(0)).toEqual(['membership m-2', 'watch w', 'question q']);
  });

  test('U2: an answer ends a question; a second answer to a watch is not for the edge', () => {
    query('q', { isSent: true });
    watch('w');
    expect(books.answered('q', 5)).toEqual({ tookMs: 5 });
    expect(books.answered('w', 7)).toEqual({ tookMs: 7 });
    expect(replayed(10)).toEqual(['watch w']);
    expect([books.answered('w', 12), books.answered('unknown', 12)]).toEqual(['again', undefined]);
  });

  test('U2: who no longer watches is forgotten by watchapp/sync', () => {
    watch('a');
    watch('b');
    const route = { source: 'metaserver', resource: 'watchapp/sync' };
    say('sync', route, { isSent: true, content: { 'w-b': {} } });
    for (const id of ['a', 'b', 'sync']) books.answered(id, 1);
    expect(replayed(1)).toEqual(['watch b']);
  });

  test('U2: after 60 s nobody waits for an answer any longer; of what tells a status the newest stays', () => {
    patch('old');
    query('q');
    patch('new');
    books.prune(60_000);
    expect(dropped).toEqual({ 'upstream-unanswered': 2 });
    expect(replayed(60_000)).toEqual(['status new']);
    expect(books.counts.questions).toBe(0);
  });

  test('U2: a status that was sent, and has no answer for 60 s, is forgotten too', () => {
    patch('p', { isSent: true });
    books.prune(59_999);
    expect(books.counts.questions).toBe(1);
    books.prune(60_000);
    expect(books.counts.questions).toBe(0);
  });

  test('U2: 4 MiB are the most; what waits goes first, the oldest of it first', () => {
    query('q', { bytes: 1024 * 1024 });
    for (const id of ['e-1', 'e-2', 'e-3', 'e-4'])
      say(id, { operation: 'insert', resource: `a/event/${id}` }, { bytes: 1024 * 1024 });
    expect(dropped).toEqual({ 'upstream-books-full': 1 });
    expect(replayed(0)).toEqual(['question q', 'held e-2', 'held e-3', 'held e-4']);
  });

  test('U2: 500 frames are the most', () => {
    for (let n = 0; n < 600; n++) query(`q-${n}`);
    expect([books.counts.questions, dropped]).toEqual([500, { 'upstream-books-full': 100 }]);
    expect(replayed(0)[0]).toBe('question q-100');
  });
});
