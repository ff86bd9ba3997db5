import { describe, expect, test } from 'vitest';
import type {
  DeliveryOutcome,
  DownstreamConsumer,
  DownstreamItem,
  EventFilter,
  HeardEvent,
  MessageBus,
  MessageOf,
  Missed,
  SubscribeOptions,
  UpstreamEvent,
} from '../../src/contracts/message-bus.ts';
import { createMessage } from '../../src/protocol/message.ts';
import { itemFor, objectMessage } from '../support/edges/messages.ts';
import { eventually } from '../support/eventually.ts';

/** What a suite needs to try a bus: a started one, with at least these limits. */
export interface BusUnderTest {
  readonly bus: MessageBus;
  dispose(): Promise<void>;
}

export interface BusLimits {
  readonly messagesPerNode: number;
}

/** A session that remembers what it was given and settles when the test says so. */
class Consumer implements DownstreamConsumer {
  readonly window: number;
  readonly given: DownstreamItem[] = [];
  readonly #settle: ((outcome: DeliveryOutcome | 'disconnected') => void)[] = [];
  readonly #automatic: DeliveryOutcome | undefined;

  constructor({ window = 8, automatic }: { window?: number; automatic?: DeliveryOutcome } = {}) {
    this.window = window;
    this.#automatic = automatic;
  }

  deliver(item: DownstreamItem): Promise<DeliveryOutcome | 'disconnected'> {
    this.given.push(item);
    if (this.#automatic) return Promise.resolve(this.#automatic);
    return new Promise((resolve) => this.#settle.push(resolve));
  }

  settle(index: number, outcome: DeliveryOutcome | 'disconnected'): void {
    this.#settle[index]!(outcome);
  }

  get contents(): unknown[] {
    return this.given.map(({ message }) => message.content);
  }
}

const ACKNOWLEDGED: DeliveryOutcome = { kind: 'acknowledged' };

/** The behaviour every bus owes the hub and the cloud programs. */
export function messageBusContract(name: string, start: (limits?: BusLimits) => Promise<BusUnderTest>): void {
  const withBus = async (use: (bus: MessageBus) => Promise<void>, limits?: BusLimits) => {
    const { bus, dispose } = await start(limits);
    try {
      await use(bus);
    } finally {
      await dispose();
    }
  };

  describe(`message bus: ${name}`, () => {
    test('delivers what waited for the node, in order, once it attaches', () =>
      withBus(async (bus) => {
        const first = await bus.enqueue(itemFor('edge-1', objectMessage('a', 1)));
        await bus.enqueue(itemFor('edge-1', objectMessage('b', 1)));
        await bus.enqueue(itemFor('edge-2', objectMessage('c', 1)));
        const consumer = new Consumer({ automatic: ACKNOWLEDGED });
        bus.attach('edge-1', consumer);
        await eventually('consumer.given.length === 2', () => consumer.given.length === 2);
        expect(consumer.contents).toEqual(['a@1', 'b@1']);
        expect(await first.outcome).toEqual(ACKNOWLEDGED);
        await eventually("bus.backlog('edge-1').messages === 0", () => bus.backlog('edge-1').messages === 0);
        bus.attach('edge-2', new Consumer({ window: 0 }));
        await eventually("bus.backlog('edge-2').messages === 1", () => bus.backlog('edge-2').messages === 1);
      }));

    test('has no more under way than the window', () =>
      withBus(async (bus) => {
        const consumer = new Consumer({ window: 2 });
        bus.attach('edge-1', consumer);
        for (const name of ['a', 'b', 'c']) await bus.enqueue(itemFor('edge-1', objectMessage(name, 1)));
        await eventually('consumer.given.length === 2', () => consumer.given.length === 2);
        await eventually("bus.backlog('edge-1').messages === 1", () => bus.backlog('edge-1').messages === 1);
        expect(consumer.given.length).toBe(2);
        consumer.settle(0, ACKNOWLEDGED);
        await eventually('consumer.given.length === 3', () => consumer.given.length === 3);
        expect(consumer.contents).toEqual(['a@1', 'b@1', 'c@1']);
      }));

    test('J2: the newest version of an object replaces the older one that waits, deletes included', () =>
      withBus(async (bus) => {
        const older = await bus.enqueue(itemFor('edge-1', objectMessage('a', 9)));
        await bus.enqueue(
          itemFor('edge-1', objectMessage('a', 10, { operation: 'delete', content: 'gone' })),
        );
        expect(await older.outcome).toEqual({ kind: 'superseded' });
        const late = await bus.enqueue(itemFor('edge-1', objectMessage('a', 8)));
        expect(await late.outcome).toEqual({ kind: 'superseded' });
        const consumer = new Consumer({ automatic: ACKNOWLEDGED });
        bus.attach('edge-1', consumer);
        await eventually(
          "consumer.given.length === 1 && bus.backlog('edge-1').messages === 0",
          () => consumer.given.length === 1 && bus.backlog('edge-1').messages === 0,
        );
        expect(consumer.contents).toEqual(['gone']);
      }));

    test('J2: a version that cannot be compared gives way to the later one', () =>
      withBus(async (bus) => {
        await bus.enqueue(itemFor('edge-1', objectMessage('a', undefined, { content: 1 })));
        await bus.enqueue(itemFor('edge-1', objectMessage('a', 'xyz', { content: 2 })));
        const consumer = new Consumer({ automatic: ACKNOWLEDGED });
        bus.attach('edge-1', consumer);
        await eventually(
          "consumer.given.length === 1 && bus.backlog('edge-1').messages === 0",
          () => consumer.given.length === 1 && bus.backlog('edge-1').messages === 0,
        );
        expect(consumer.contents).toEqual([2]);
      }));

    test('never lets a newer version overtake one that is under way', () =>
      withBus(async (bus) => {
        const consumer = new Consumer();
        bus.attach('edge-1', consumer);
        const older = await bus.enqueue(itemFor('edge-1', objectMessage('a', 1)));
        await eventually('consumer.given.length === 1', () => consumer.given.length === 1);
        await bus.enqueue(itemFor('edge-1', objectMessage('a', 2)));
        await bus.enqueue(itemFor('edge-1', objectMessage('b', 1)));
        await eventually('consumer.given.length === 2', () => consumer.given.length === 2);
        expect(consumer.contents).toEqual(['a@1', 'b@1']);
        consumer.settle(0, ACKNOWLEDGED);
        await eventually('consumer.given.length === 3', () => consumer.given.length === 3);
        expect(consumer.contents).toEqual(['a@1', 'b@1', 'a@2']);
        expect(await older.outcome).toEqual(ACKNOWLEDGED);
      }));

    test('J2: what a session gives back is delivered to the next one, in its place and in its newest version', () =>
      withBus(async (bus) => {
        const first = new Consumer();
        const detach = bus.attach('edge-1', first);
        for (const name of ['a', 'b', 'c']) await bus.enqueue(itemFor('edge-1', objectMessage(name, 1)));
        await eventually('first.given.length === 3', () => first.given.length === 3);
        first.settle(1, ACKNOWLEDGED);
        await eventually("bus.backlog('edge-1').messages === 0", () => bus.backlog('edge-1').messages === 0);
        detach();
        first.settle(0, 'disconnected');
        first.settle(2, 'disconnected');
        await bus.enqueue(itemFor('edge-1', objectMessage('d', 1)));
        await bus.enqueue(itemFor('edge-1', objectMessage('a', 2)));
        const second = new Consumer({ automatic: ACKNOWLEDGED });
        bus.attach('edge-1', second);
        await eventually(
          "second.given.length === 3 && bus.backlog('edge-1').messages === 0",
          () => second.given.length === 3 && bus.backlog('edge-1').messages === 0,
        );
        expect([...second.contents].sort()).toEqual(['a@2', 'c@1', 'd@1']);
        expect(second.contents.indexOf('c@1')).toBeLessThan(second.contents.indexOf('d@1'));
      }));

    test('a later session of the node replaces the earlier one, whose leaving then changes nothing', () =>
      withBus(async (bus) => {
        const first = new Consumer();
        const detachFirst = bus.attach('edge-1', first);
        const second = new Consumer({ automatic: ACKNOWLEDGED });
        bus.attach('edge-1', second);
        detachFirst();
        await bus.enqueue(itemFor('edge-1', objectMessage('a', 1)));
        await eventually('second.given.length === 1', () => second.given.length === 1);
        expect(first.given).toEqual([]);
      }));

    test('keeps messages apart that speak of no object: user data and answers', () =>
      withBus(async (bus) => {
        const data = (content: number) =>
          createMessage(
            { source: 'router', group: 'user', operation: 'upload', resource: 'topic' },
            content,
            {
              now: 0,
            },
          );
        const answer = (content: number) =>
          createMessage({ source: 'edgecontroller', group: 'resource', resource: 'r' }, content, {
            now: 0,
            parentId: `question-${content}`,
          });
        for (const message of [data(1), data(2)])
          await bus.enqueue(itemFor('edge-1', message, { acknowledged: false }));
        for (const message of [answer(3), answer(4)]) await bus.enqueue(itemFor('edge-1', message));
        const consumer = new Consumer({ automatic: { kind: 'sent' } });
        bus.attach('edge-1', consumer);
        await eventually('consumer.given.length === 4', () => consumer.given.length === 4);
        expect(consumer.contents).toEqual([1, 2, 3, 4]);
      }));

    test('J1: what an edge never acknowledges is settled as such and does not come back', () =>
      withBus(async (bus) => {
        const consumer = new Consumer();
        bus.attach('edge-1', consumer);
        const { outcome } = await bus.enqueue(itemFor('edge-1', objectMessage('a', 1)));
        await eventually('consumer.given.length === 1', () => consumer.given.length === 1);
        consumer.settle(0, { kind: 'unacknowledged' });
        expect(await outcome).toEqual({ kind: 'unacknowledged' });
        expect(bus.backlog('edge-1')).toEqual({ messages: 0, bytes: 0 });
      }));

    test('does not deliver what is past its time', () =>
      withBus(async (bus) => {
        const { outcome } = await bus.enqueue(itemFor('edge-1', objectMessage('a', 1), { expiresAt: 1 }));
        expect(await outcome).toEqual({ kind: 'expired' });
      }));

    test('J3: a message that enters twice under one id is delivered once; the same id for another node is another message', () =>
      withBus(async (bus) => {
        const message = objectMessage('a', 1);
        await bus.enqueue(itemFor('edge-1', message));
        const again = await bus.enqueue(itemFor('edge-1', message));
        expect(await again.outcome).toEqual({ kind: 'dropped', reason: 'duplicate' });
        await bus.enqueue(itemFor('edge-2', message));
        const [first, second] = [
          new Consumer({ automatic: ACKNOWLEDGED }),
          new Consumer({ automatic: ACKNOWLEDGED }),
        ];
        bus.attach('edge-1', first);
        bus.attach('edge-2', second);
        await eventually(
          'first.given.length === 1 && second.given.length === 1',
          () => first.given.length === 1 && second.given.length === 1,
        );
        const late = await bus.enqueue(itemFor('edge-1', message));
        expect(await late.outcome).toEqual({ kind: 'dropped', reason: 'duplicate' });
        expect(first.given.length).toBe(1);
      }));

    test('J2, J3: what is posted is delivered as what is enqueued, once under one id, in its newest version, within the limits', () =>
      withBus(
        async (bus) => {
          const first = objectMessage('a', 1);
          await bus.post(itemFor('edge-1', first));
          await bus.post(itemFor('edge-1', first));
          await bus.post(itemFor('edge-1', objectMessage('b', 1)));
          await expect(bus.post(itemFor('edge-1', objectMessage('c', 1)))).rejects.toMatchObject({
            code: 'QUEUE_FULL',
          });
          await bus.post(itemFor('edge-1', objectMessage('b', 2)));
          const again = await bus.enqueue(itemFor('edge-1', first));
          expect(await again.outcome).toEqual({ kind: 'dropped', reason: 'duplicate' });
          await bus.post(itemFor('edge-1', objectMessage('d', 1), { expiresAt: 1 }));
          const consumer = new Consumer({ automatic: ACKNOWLEDGED });
          bus.attach('edge-1', consumer);
          await eventually(
            "consumer.given.length === 2 && bus.backlog('edge-1').messages === 0",
            () => consumer.given.length === 2 && bus.backlog('edge-1').messages === 0,
          );
          await bus.post(itemFor('edge-1', first));
          await bus.post(itemFor('edge-1', objectMessage('e', 1)));
          await eventually('consumer.given.length === 3', () => consumer.given.length === 3);
          expect(consumer.contents).toEqual(['a@1', 'b@2', 'e@1']);
        },
        { messagesPerNode: 2 },
      ));

    test('I13: refuses what goes over the limit of a node', () =>
      withBus(
        async (bus) => {
          await bus.enqueue(itemFor('edge-1', objectMessage('a', 1)));
          await bus.enqueue(itemFor('edge-1', objectMessage('b', 1)));
          await expect(bus.enqueue(itemFor('edge-1', objectMessage('c', 1)))).rejects.toMatchObject({
            code: 'QUEUE_FULL',
          });
          await bus.enqueue(itemFor('edge-1', objectMessage('a', 2)));
          await bus.enqueue(itemFor('edge-2', objectMessage('c', 1)));
        },
        { messagesPerNode: 2 },
      ));

    test('tells followers what passes their filter, and those that return what they missed', () =>
      withBus(async (bus) => {
        const all: HeardEvent[] = [];
        const some: HeardEvent[] = [];
        bus.subscribe({}, (event) => all.push(event));
        bus.subscribe(
          { node: 'edge-1', group: 'resource', resourcePrefix: 'node/edge-1/default/' },
          (event) => some.push(event),
        );
        for (const event of [
          fromEdge('edge-1', 1),
          fromEdge('edge-2', 2),
          connected('edge-1'),
          fromEdge('edge-1', 3),
        ])
          await bus.publish(event);
        await eventually(
          'all.length === 4 && some.length === 2',
          () => all.length === 4 && some.length === 2,
        );
        expect(some.map(contentOf)).toEqual([1, 3]);
        const ids = all.map(({ id }) => id!);
        expect([...ids].sort((a, b) => a.length - b.length || (a < b ? -1 : 1))).toEqual(ids);
        const missed: HeardEvent[] = [];
        bus.subscribe({ types: ['message'] }, (event) => missed.push(event), { afterId: ids[0]! });
        await eventually('missed.length === 2', () => missed.length === 2);
        expect(missed.map(contentOf)).toEqual([2, 3]);
      }));

    test('L9: whoever goes on after the position it had misses nothing, though its filter held all back', () =>
      withBus(async (bus) => {
        const ofOther: HeardEvent[] = [];
        const missed: unknown[] = [];
        const options = { onMissed: (what: Missed) => missed.push(what) };
        const before = bus.subscribe({ node: 'edge-2' }, (event) => ofOther.push(event), options);
        const start = before.position();
        for (const content of [1, 2, 3]) await bus.publish(fromEdge('edge-1', content));
        await eventually('the position moved', () => Number(before.position()) === Number(start) + 3);
        const afterId = before.position()!;
        before.end();
        await bus.publish(fromEdge('edge-2', 4));
        bus.subscribe({ node: 'edge-2' }, (event) => ofOther.push(event), { ...options, afterId });
        await eventually('ofOther.length === 1', () => ofOther.length === 1);
        expect(ofOther.map(contentOf)).toEqual([4]);
        expect(missed).toEqual([]);
      }));

    test.each(['1790000000000000000', 'of-another-gateway'])(
      'L9: whoever comes with an id of another gateway (%s) gets what is kept, and hears that there may be a gap',
      (afterId) =>
        withBus(async (bus) => {
          await bus.publish(fromEdge('edge-1', 1));
          const heard: unknown[] = [];
          const onMissed = (missed: Missed) => heard.push({ missed: missed.count });
          bus.subscribe({}, (event) => heard.push(contentOf(event)), { afterId, onMissed });
          await eventually('heard.length === 2', () => heard.length === 2);
          expect(heard).toEqual([{ missed: undefined }, 1]);
        }),
    );

    test('P6: whoever follows that direction is shown what goes to nodes, and nobody else; nothing of it is kept', () =>
      withBus(async (bus) => {
        const sent = (node: string, content: number) => {
          const { message } = fromEdge(node, content);
          return { node, sessionId: 's-1', message };
        };
        expect([bus.isWatched('edge-1'), bus.isWatched('edge-2')]).toEqual([false, false]);
        const heard: Record<'both' | 'down' | 'up' | 'sessions', unknown[]> = {
          both: [],
          down: [],
          up: [],
          sessions: [],
        };
        const hear = (name: keyof typeof heard, filter: EventFilter, options?: SubscribeOptions) =>
          bus.subscribe(
            filter,
            ({ id, event }) =>
              heard[name].push([
                event.type === 'message' ? event.direction : event.type,
                contentOf({ id, event }),
                id === undefined,
              ]),
            options,
          );
        hear('up', {});
        hear('sessions', { directions: ['downstream'], types: ['connected'] });
        const down = hear('down', { directions: ['downstream'], node: 'edge-1' });
        await eventually('edge-1 is watched', () => bus.isWatched('edge-1'));
        expect(bus.isWatched('edge-2')).toBe(false);
        const both = hear('both', { directions: ['upstream', 'downstream'] });
        await eventually('edge-2 is watched', () => bus.isWatched('edge-2'));
        bus.show(sent('edge-1', 1));
        bus.show(sent('edge-2', 2));
        await eventually('both are shown', () => heard.both.length === 2);
        await bus.publish(connected('edge-1'));
        await bus.publish(fromEdge('edge-1', 3));
        await eventually('what came is heard', () => heard.both.length === 4 && heard.down.length === 2);
        expect(heard).toEqual({
          both: [
            ['downstream', 1, true],
            ['downstream', 2, true],
            ['connected', undefined, false],
            ['upstream', 3, false],
          ],
          down: [
            ['downstream', 1, true],
            ['connected', undefined, false],
          ],
          up: [
            ['connected', undefined, false],
            ['upstream', 3, false],
          ],
          sessions: [['connected', undefined, false]],
        });
        const position = both.position()!;
        both.end();
        await eventually('edge-2 is watched no more', () => !bus.isWatched('edge-2'));
        expect(bus.isWatched('edge-1')).toBe(true);
        down.end();
        await eventually('nor is edge-1', () => !bus.isWatched('edge-1'));
        const missed: Missed[] = [];
        const options = { afterId: position, onMissed: (what: Missed) => missed.push(what) };
        hear('up', {}, options);
        hear('both', { directions: ['downstream'] }, options);
        expect(missed).toEqual([{ direction: 'downstream' }]);
      }));

    test('a follower that throws is let go and disturbs nobody', () =>
      withBus(async (bus) => {
        let calls = 0;
        bus.subscribe({}, () => {
          calls++;
          throw new Error('broken program');
        });
        const seen: unknown[] = [];
        const subscription = bus.subscribe({}, (event) => seen.push(contentOf(event)));
        await bus.publish(fromEdge('edge-1', 1));
        await eventually('seen.length === 1', () => seen.length === 1);
        await bus.publish(fromEdge('edge-1', 2));
        await eventually('seen.length === 2', () => seen.length === 2);
        expect(calls).toBe(1);
        subscription.end();
        await bus.publish(fromEdge('edge-1', 3));
        expect(seen).toEqual([1, 2]);
      }));

    test('once stopped it takes nothing, and says why', async () => {
      const { bus, dispose } = await start();
      expect(bus.problem()).toBeUndefined();
      await bus.stop(new AbortController().signal);
      await expect(bus.publish(connected('edge-1'))).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
      await expect(bus.enqueue(itemFor('edge-1', objectMessage('a', 1)))).rejects.toMatchObject({
        code: 'BUS_UNAVAILABLE',
      });
      expect(bus.problem()).toBeDefined();
      await dispose();
    });
  });
}

function fromEdge(node: string, content: number): MessageOf<'upstream'> {
  const route = {
    source: 'edged',
    group: 'resource',
    operation: 'update',
    resource: `node/${node}/default/pod/p`,
  };
  const message = createMessage(route, content, { now: 0 });
  return { type: 'message', direction: 'upstream', node, sessionId: 's', message, bytes: 200 };
}

function connected(node: string): UpstreamEvent {
  return { type: 'connected', node, sessionId: 's', transport: 'websocket', at: 0 };
}

function contentOf({ event }: HeardEvent): unknown {
  return event.type === 'message' ? event.message.content : undefined;
}
