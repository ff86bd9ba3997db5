import { describe, expect, test } from 'vitest';
import { printable as printableOnPage } from '../../../../src/admin/ui/format.js';
import {
  CALM_MS,
  findRows,
  KEPT,
  KEPT_TEXT,
  laidOut,
  MessageFeed,
  pathOf,
} from '../../../../src/admin/ui/message-feed.js';
import type { FollowCallbacks } from '../../../../src/admin/ui/types.d.ts';
import { printable } from '../../../../src/core/printable.ts';

const EVERYTHING = { node: '', kind: 'all', operation: '', resource: '' } as const;
const message = (node: string, content: unknown, operation = 'update') =>
  JSON.stringify({
    type: 'message',
    node,
    bytes: 12,
    message: { route: { operation, resource: 'app/x' }, content },
  });

/** A feed whose stream and timer the test works by hand. */
function rig() {
  const streams: (FollowCallbacks & { path: string; ended: boolean })[] = [];
  const timers: (() => void)[] = [];
  let told = 0;
  const feed = new MessageFeed({
    follow: (path, callbacks) => {
      const stream = { ...callbacks, path, ended: false };
      streams.push(stream);
      return () => {
        stream.ended = true;
      };
    },
    later: (run, ms) => {
      expect(ms).toBe(CALM_MS);
      timers.push(run);
    },
  });
  feed.subscribe(() => told++);
  const draw = () => {
    for (const run of timers.splice(0)) run();
  };
  const hear = (...data: string[]) => {
    for (const one of data) streams.at(-1)!.onData(one);
  };
  return { feed, streams, timers, draw, hear, told: () => told };
}
const contents = ({ rows }: MessageFeed['view']) => rows.map(({ text }) => JSON.parse(text).message.content);

describe('P6: the live message view', () => {
  test('asks the gateway for what is chosen', () => {
    expect(pathOf(EVERYTHING)).toBe('/api/v1/events?direction=upstream');
    expect(pathOf({ ...EVERYTHING, direction: 'both' })).toBe(
      '/api/v1/events?direction=upstream&direction=downstream',
    );
    const chosen = { node: 'edge-1', kind: 'messages', direction: 'downstream' } as const;
    expect(pathOf({ ...chosen, operation: 'update', resource: 'a/b&c' })).toBe(
      '/api/v1/events?type=message&direction=downstream&node=edge-1&operation=update&resourcePrefix=a%2Fb%26c',
    );
    expect(pathOf({ ...EVERYTHING, kind: 'sessions' })).toBe(
      '/api/v1/events?type=connected&type=disconnected&direction=upstream',
    );
  });

  test('is bounded and calm: of 10,000 messages at once the newest stay, the rest is counted, and it is told once', () => {
    const { feed, timers, draw, hear, told } = rig();
    feed.start(EVERYTHING);
    const before = told();
    hear(...Array.from({ length: 10_000 }, (_, n) => message('edge-1', n)));
    expect([told() - before, timers.length]).toEqual([0, 1]);
    draw();
    expect(told() - before).toBe(1);
    expect(feed.view.dropped).toBe(10_000 - KEPT);
    expect(contents(feed.view)).toEqual(Array.from({ length: KEPT }, (_, n) => 10_000 - KEPT + n));
    hear(message('edge-1', 'next'));
    draw();
    expect([feed.view.dropped, feed.view.rows.length]).toEqual([10_001 - KEPT, KEPT]);
  });

  test('held it stays as it is and counts what comes; let go it shows the newest', () => {
    const { feed, draw, hear } = rig();
    feed.start(EVERYTHING);
    hear(message('edge-1', 'a'));
    draw();
    feed.hold(true);
    hear(...Array.from({ length: 300 }, (_, n) => message('edge-1', n)));
    draw();
    expect(contents(feed.view)).toEqual(['a']);
    expect([feed.view.waiting, feed.view.dropped]).toEqual([300, 0]);
    feed.hold(false);
    expect(contents(feed.view)).toEqual(Array.from({ length: KEPT }, (_, n) => 100 + n));
    expect([feed.view.waiting, feed.view.dropped]).toEqual([0, 301 - KEPT]);
  });

  test('a stop ends the stream and leaves the rows; another beginning ends the one before', () => {
    const { feed, streams, hear } = rig();
    feed.start(EVERYTHING);
    feed.hold(true);
    hear(message('edge-1', 'a'));
    feed.stop();
    expect([streams[0]!.ended, feed.view.live, feed.view.isHeld]).toEqual([true, undefined, false]);
    expect(contents(feed.view)).toEqual(['a']);
    feed.start(EVERYTHING);
    expect([feed.view.live, feed.view.rows]).toEqual(['connecting', []]);
    feed.start({ ...EVERYTHING, node: 'edge-2' });
    expect(streams.map(({ ended }) => ended)).toEqual([true, true, false]);
  });

  test('L9: says where events were missed, and how many when that is known', () => {
    const { feed, draw, hear } = rig();
    feed.start(EVERYTHING);
    hear(
      '{"type":"missed","count":12}',
      message('edge-1', 1),
      '{"type":"missed"}',
      '{"type":"missed","direction":"downstream"}',
    );
    draw();
    expect(feed.view.rows.map(({ what }) => what)).toEqual([
      '12 events were missed here.',
      'update app/x',
      'Events may have been missed here.',
      'What nodes were sent meanwhile was not kept.',
    ]);
  });

  test('of a long message only the beginning is kept, and that is said', () => {
    const { feed, draw, hear } = rig();
    feed.start(EVERYTHING);
    hear(message('edge-1', 'x'.repeat(KEPT_TEXT)), message('edge-1', 'short'));
    draw();
    expect(feed.view.rows.map(({ isCut, text }) => [isCut, text.length])).toEqual([
      [true, KEPT_TEXT],
      [false, message('edge-1', 'short').length],
    ]);
    expect(laidOut(feed.view.rows[0]!)).toBe(feed.view.rows[0]!.text);
  });

  test('finds rows by every word, in names and in content, whatever the case', () => {
    const { feed, draw, hear } = rig();
    feed.start(EVERYTHING);
    hear(message('edge-1', { colour: 'Red' }), message('edge-2', { colour: 'red' }, 'insert'));
    draw();
    const found = (search: string) => findRows(feed.view.rows, search).map(({ node }) => node);
    expect(found(' ')).toEqual(['edge-1', 'edge-2']);
    expect(found('RED edge-2')).toEqual(['edge-2']);
    expect(found('update app/x')).toEqual(['edge-1']);
    expect(found('.*')).toEqual([]);
  });

  test('content is laid out with every number as it was written', () => {
    const text = '{"a":[9007199254740993,1.0,1e400,"9007199254740993"],"__proto__":{"b":null}}';
    expect(laidOut({ text, isCut: false }).replaceAll(/\s/g, '')).toBe(text);
  });

  test('O4: what moves a cursor or turns the direction of writing is shown as the command line shows it', () => {
    for (const text of ['a\u202eb', '\u001b[31m', 'line\u2028break\n', '\u{e0001}tag', 'plain – ü 漢'])
      expect(printableOnPage(text)).toBe(printable(text));
  });
});
