import { expect, test } from 'vitest';
import { LocalBus, type LocalBusOptions } from '../../../../src/bus/local/local-bus.ts';
import { configSchema } from '../../../../src/config/schema.ts';
import type {
  DownstreamConsumer,
  DownstreamItem,
  Enqueued,
  Missed,
} from '../../../../src/contracts/message-bus.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import { createMessage, type Message } from '../../../../src/protocol/message.ts';
import { ManualClock, settle } from '../../../fakes/manual-clock.ts';
import { itemFor, metric, objectMessage } from '../../../support/edges/messages.ts';
import { eventually } from '../../../support/eventually.ts';
import { scaled } from '../../../support/scale.ts';

async function startBus(limits: Partial<LocalBusOptions> = {}) {
  const clock = new ManualClock();
  const metrics = createMetrics({ process: false });
  const { queue } = configSchema.parse({}).hub;
  const bus = new LocalBus({ clock, log: silentLogger, metrics }, () => ({ ...queue, ...limits }));
  await bus.start();
  return {
    bus,
    clock,
    dropped: (reason: string) =>
      metric(metrics, 'messages_dropped_total', { direction: 'downstream', reason }),
    metric: async (name: string) => {
      await settle();
      return metric(metrics, name);
    },
    [Symbol.asyncDispose]: () => bus.stop(),
  };
}

function consumer(onItem: (item: DownstreamItem) => void, window = 32): DownstreamConsumer {
  return {
    window,
    deliver: async (item) => {
      onItem(item);
      return { kind: 'sent' };
    },
  };
}

/** The same as another message: an id enters once. */
function withId(message: Message, id: number): Message {
  return message.withHeader({ ...message.header, msg_id: `m-${id}` });
}

test('I13: messages for 1,000 nodes that never connect, a million of them in CI, stay within the limits, every loss counted', {
  timeout: 90_000,
}, async () => {
  await using gate = await startBus({ messages: 5_000, messagesPerNode: 100, bytes: 4_000_000 });
  const TOTAL = scaled(1_000_000);
  const message = objectMessage('a', 1);
  let refused = 0;
  for (let index = 0; index < TOTAL; index++) {
    const item = itemFor(`edge-${index % 1_000}`, withId(message, index), { acknowledged: false });
    await gate.bus.enqueue(item).catch(() => refused++);
  }
  const held = await gate.metric('downstream_queued_messages');
  expect(held).toBeLessThanOrEqual(5_000);
  expect(held).toBeGreaterThan(4_000);
  expect(await gate.metric('downstream_queued_bytes')).toBeLessThanOrEqual(4_000_000);
  expect(refused).toBe(await gate.dropped('node-limit'));
  expect(held + (await gate.dropped('hub-limit')) + (await gate.dropped('node-limit'))).toBe(TOTAL);
  const living: unknown[] = [];
  gate.bus.attach(
    'alive',
    consumer((item) => living.push(item)),
  );
  await gate.bus.enqueue(itemFor('alive', message));
  await eventually('living.length === 1', () => living.length === 1);
});

test('I13: when all is full, the node that is away longest loses its oldest message first, and those that are here lose none', async () => {
  await using gate = await startBus({ messages: 3 });
  const blocked: DownstreamConsumer = { window: 0, deliver: async () => 'disconnected' };
  gate.bus.attach('here', blocked);
  await gate.bus.enqueue(itemFor('here', objectMessage('h', 1)));
  const oldest = await gate.bus.enqueue(itemFor('away', objectMessage('a', 1)));
  await gate.bus.enqueue(itemFor('away', objectMessage('b', 1)));
  await gate.bus.enqueue(itemFor('later', objectMessage('c', 1)));
  expect(await oldest.outcome).toEqual({ kind: 'dropped', reason: 'hub-limit' });
  expect(gate.bus.backlog('here').messages).toBe(1);
  expect(gate.bus.backlog('away').messages).toBe(1);
  for (const name of ['x', 'y']) await gate.bus.enqueue(itemFor('here', objectMessage(name, 1)));
  await expect(gate.bus.enqueue(itemFor('here', objectMessage('z', 1)))).rejects.toMatchObject({
    code: 'QUEUE_FULL',
  });
  expect(gate.bus.backlog('here').messages).toBe(3);
});

test('I13: bytes are bounded too, for a node and in all', async () => {
  await using gate = await startBus({ bytesPerNode: 4_000, bytes: 5_000 });
  const big = (name: string) => objectMessage(name, 1, { content: 'x'.repeat(1_200) });
  for (const name of ['a', 'b']) await gate.bus.enqueue(itemFor('edge-1', big(name)));
  await expect(gate.bus.enqueue(itemFor('edge-1', big('c')))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  await gate.bus.enqueue(itemFor('edge-2', big('a')));
  expect(gate.bus.backlog('edge-1').messages).toBe(1);
  const huge = objectMessage('h', 1, { content: 'x'.repeat(5_000) });
  await expect(gate.bus.enqueue(itemFor('edge-3', huge))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  expect(gate.bus.backlog('edge-2').messages).toBe(1);
});

test('I10: a node with a long queue, of 100,000 messages in CI, does not delay the others', async () => {
  await using gate = await startBus({
    messagesPerNode: 200_000,
    bytesPerNode: 128_000_000,
    messages: 300_000,
  });
  const COUNT = scaled(100_000, 50_000);
  let [flood, turns, flooding] = [0, 0, true];
  const message = objectMessage('a', 1);
  for (let index = 0; index < COUNT; index++)
    await gate.bus.enqueue(itemFor('flood', withId(message, index), { acknowledged: false }));
  gate.bus.attach(
    'flood',
    consumer(() => flood++),
  );
  const count = () => {
    turns++;
    if (flooding) setImmediate(count);
  };
  setImmediate(count);
  const waits: number[] = [];
  const between: number[] = [];
  for (let node = 0; node < 50; node++) {
    let done = false;
    gate.bus.attach(
      `calm-${node}`,
      consumer(() => (done = true)),
    );
    const [turnBefore, floodBefore] = [turns, flood];
    await gate.bus.enqueue(itemFor(`calm-${node}`, objectMessage('b', 1)));
    await eventually('done', () => done);
    waits.push(turns - turnBefore);
    between.push(flood - floodBefore);
  }
  expect(flood).toBeLessThan(COUNT / 10);
  expect(Math.max(...waits)).toBeLessThanOrEqual(3);
  expect(Math.max(...between)).toBeLessThanOrEqual(32 * 3);
  await eventually('flood === COUNT', () => flood === COUNT);
  flooding = false;
  expect(turns).toBeGreaterThan(COUNT / 32 / 2);
});

test('J5: what expires, is superseded or ends with the process is counted with its reason', async () => {
  const gate = await startBus({ ttlMs: 10_000 });
  const outcomes: Enqueued[] = [];
  const queue = async (item: DownstreamItem) => outcomes.push(await gate.bus.enqueue(item));
  await queue(itemFor('edge-1', objectMessage('a', 1)));
  await queue(itemFor('edge-1', objectMessage('b', 1), { expiresAt: gate.clock.now() + 3_000 }));
  await gate.clock.advance(4_000);
  expect(gate.bus.backlog('edge-1').messages).toBe(1);
  await gate.clock.advance(8_000);
  expect(gate.bus.backlog('edge-1').messages).toBe(0);
  expect(await gate.dropped('expired')).toBe(2);
  await queue(itemFor('edge-1', objectMessage('a', 2)));
  await queue(itemFor('edge-1', objectMessage('a', 3)));
  expect(await gate.dropped('superseded')).toBe(1);
  await gate.bus.stop();
  expect(await gate.dropped('shutdown')).toBe(1);
  expect(await Promise.all(outcomes.map(({ outcome }) => outcome))).toEqual([
    { kind: 'expired' },
    { kind: 'expired' },
    { kind: 'superseded' },
    { kind: 'dropped', reason: 'shutdown' },
  ]);
  expect(await gate.metric('downstream_queued_messages')).toBe(0);
  expect(await gate.metric('downstream_queued_bytes')).toBe(0);
});

test('a session that fails to deliver loses nothing, and is asked no more', async () => {
  await using gate = await startBus();
  let asked = 0;
  gate.bus.attach('edge-1', {
    window: 8,
    deliver: () => {
      asked++;
      throw new Error('broken session');
    },
  });
  await gate.bus.enqueue(itemFor('edge-1', objectMessage('a', 1)));
  await settle();
  await gate.bus.enqueue(itemFor('edge-1', objectMessage('b', 1)));
  await settle();
  expect(asked).toBe(1);
  const given: unknown[] = [];
  gate.bus.attach(
    'edge-1',
    consumer(({ message }) => given.push(message.content)),
  );
  await eventually('given.length === 2', () => given.length === 2);
  expect(given).toEqual(['a@1', 'b@1']);
});

test('L9: keeps a bounded number and weight of events, and tells whoever returns how many it missed', async () => {
  const message = createMessage({ source: 'edged', resource: 'r' }, null, { now: 0 });
  await using gate = await startBus({ events: 1_000, eventBytes: 500 * message.heldBytes });
  for (let index = 0; index < 5_000; index++)
    await gate.bus.publish({
      type: 'message',
      direction: 'upstream',
      node: `n${index}`,
      sessionId: 's',
      message,
      bytes: 100,
    });
  const heard: unknown[] = [];
  const onMissed = ({ count }: Missed) => heard.push({ missed: count });
  const follow = (afterId: number) => {
    heard.length = 0;
    gate.bus
      .subscribe({}, ({ event }) => heard.push(event.node), { afterId: String(afterId), onMissed })
      .end();
    return [heard.length, ...heard.slice(0, 2), heard.at(-1)];
  };
  const last = Number(gate.bus.subscribe({}, () => {}).position());
  expect(follow(last)[0]).toBe(0);
  expect(follow(last - 500)).toEqual([500, 'n4500', 'n4501', 'n4999']);
  expect(follow(last - 501)).toEqual([501, { missed: 1 }, 'n4500', 'n4999']);
  expect(follow(last - 5_000)).toEqual([501, { missed: 4_500 }, 'n4500', 'n4999']);
  // Of the process before this one, and of a gateway that began later.
  expect(follow(last - 5_001)).toEqual([501, { missed: undefined }, 'n4500', 'n4999']);
  expect(follow(last + 1)).toEqual([501, { missed: undefined }, 'n4500', 'n4999']);
});

test('takes over another number of events to keep while it runs, and goes on with its ids', async () => {
  const limits = { events: 4 };
  const { queue } = configSchema.parse({}).hub;
  const parts = { clock: new ManualClock(), log: silentLogger, metrics: createMetrics({ process: false }) };
  const bus = new LocalBus(parts, () => ({ ...queue, ...limits }));
  const publish = async (...nodes: string[]) => {
    for (const node of nodes)
      await bus.publish({ type: 'connected', node, sessionId: 's', transport: 'quic', at: 0 });
  };
  const kept = () => {
    const events: { node: string; id: number }[] = [];
    bus
      .subscribe({}, ({ id, event }) => events.push({ node: event.node, id: Number(id) }), {
        afterId: '0',
      })
      .end();
    return events;
  };
  await publish('a', 'b', 'c', 'd', 'e');
  expect(kept().map(({ node }) => node)).toEqual(['b', 'c', 'd', 'e']);
  limits.events = 2;
  await publish('f');
  expect(kept().map(({ node }) => node)).toEqual(['e', 'f']);
  limits.events = 3;
  await publish('g', 'h');
  expect(kept().map(({ node }) => node)).toEqual(['f', 'g', 'h']);
  const [first, second, third] = kept().map(({ id }) => id);
  expect([second, third]).toEqual([first! + 1, first! + 2]);
});

test('a follower that comes or goes while an event is handed round sees each event once', async () => {
  await using gate = await startBus();
  const late: string[] = [];
  let joined = false;
  gate.bus.subscribe({}, () => {
    if (joined) return;
    joined = true;
    gate.bus.subscribe({}, ({ event }) => late.push(event.node), { afterId: '0' });
  });
  const event = { type: 'connected', sessionId: 's', transport: 'quic', at: 0 } as const;
  await gate.bus.publish({ ...event, node: 'one' });
  await gate.bus.publish({ ...event, node: 'two' });
  expect(late).toEqual(['one', 'two']);
});

test('a follower that rejects later is let go and ends nothing else', async () => {
  await using gate = await startBus();
  let calls = 0;
  gate.bus.subscribe({}, async () => {
    calls++;
    throw new Error('broken program');
  });
  const event = { type: 'connected', node: 'n', sessionId: 's', transport: 'quic', at: 0 } as const;
  await gate.bus.publish(event);
  await settle();
  await gate.bus.publish(event);
  expect(calls).toBe(1);
  expect(await gate.metric('upstream_subscribers')).toBe(0);
});
