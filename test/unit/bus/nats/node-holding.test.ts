import { headers, type MsgHdrs } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { encodeItem } from '../../../../src/bus/nats/nats-messages.ts';
import { type HoldingServices, NodeHolding, type StoredItem } from '../../../../src/bus/nats/node-holding.ts';
import { Subjects } from '../../../../src/bus/nats/subjects.ts';
import type { DeliveryOutcome, DownstreamItem } from '../../../../src/contracts/message-bus.ts';
import { silentLogger } from '../../../../src/core/log.ts';
import { ManualClock, settle } from '../../../fakes/manual-clock.ts';
import { itemFor, objectMessage } from '../../../support/edges/messages.ts';

const subjects = new Subjects('t');

/** One node's holding over a stream in memory; nothing happens but what a test calls. */
function make({ window = 10, settled = [] as number[] } = {}) {
  const clock = new ManualClock();
  const stream: StoredItem[] = [];
  const fates: [seq: number | undefined, kind: string][] = [];
  const given: { item: DownstreamItem; finish(outcome: DeliveryOutcome | 'disconnected'): void }[] = [];
  let [fetches, reads] = [0, 0];
  const services: HoldingServices = {
    clock,
    log: silentLogger,
    isAcknowledged: () => true,
    read: async function* (_node, fromSeq, max) {
      reads++;
      yield* stream.filter(({ seq }) => seq >= fromSeq).slice(0, max);
    },
    isSettled: (seq) => settled.includes(seq),
    settled: ({ seq }, { kind }) => void fates.push([seq, kind]),
    serveSoon: () => {},
    fetchSoon: () => void fetches++,
  };
  const consumer = {
    window,
    deliver: (item: DownstreamItem) =>
      new Promise<DeliveryOutcome | 'disconnected'>((finish) => void given.push({ item, finish })),
  };
  const holding = new NodeHolding(services, { node: 'edge-1', consumer, attachment: {} });
  const store = (item: DownstreamItem): StoredItem => {
    const { payload, headers: sent } = encodeItem(subjects, item);
    return put(payload, sent);
  };
  const put = (data: Uint8Array, sent: MsgHdrs = headers()): StoredItem => {
    const one = { seq: stream.length + 1, data, headers: sent };
    stream.push(one);
    return one;
  };
  const names = () => given.map(({ item }) => item.message.route.resource?.split('/').at(-1));
  return { clock, holding, store, put, fates, given, names, fetches: () => fetches, reads: () => reads };
}
const item = (name: string, version = 1, more: Partial<DownstreamItem> = {}) =>
  itemFor('edge-1', objectMessage(name, version), more);

test('what was stored before is read in order, and handed over as the window allows', async () => {
  const node = make({ window: 2 });
  for (const name of ['a', 'b', 'c']) node.store(item(name));
  await node.holding.fetch();
  node.holding.serve();
  expect(node.names()).toEqual(['a', 'b']);
  node.given[0]!.finish({ kind: 'acknowledged' });
  await settle();
  node.holding.serve();
  expect(node.names()).toEqual(['a', 'b', 'c']);
  expect(node.fates).toEqual([[1, 'acknowledged']]);
});

test('an announced message is taken without a read while nothing is missing, and read for when something is', async () => {
  const node = make();
  await node.holding.fetch();
  const reads = node.reads();
  node.holding.offer(node.store(item('a')), 0);
  node.holding.serve();
  expect([node.names(), node.reads(), node.fetches()]).toEqual([['a'], reads, 0]);
  node.store(item('missed'));
  node.holding.offer(node.store(item('c')), 2);
  expect(node.fetches()).toBe(1);
  await node.holding.fetch();
  node.holding.serve();
  expect(node.names()).toEqual(['a', 'missed', 'c']);
});

test('a newer version replaces the one that waits, an older one is superseded on arrival', async () => {
  const node = make();
  node.store(item('a', 1));
  node.store(item('a', 3));
  node.store(item('a', 2));
  await node.holding.fetch();
  expect(node.fates).toEqual([
    [1, 'superseded'],
    [3, 'superseded'],
  ]);
  node.holding.serve();
  expect(node.given.map(({ item }) => item.message.header.resourceversion)).toEqual(['3']);
});

test('a session that ends leaves in the stream what it did not acknowledge', async () => {
  const node = make();
  node.store(item('a'));
  node.store(item('b'));
  await node.holding.fetch();
  node.holding.serve();
  node.given[0]!.finish('disconnected');
  node.holding.close();
  await settle();
  expect(node.fates).toEqual([]);
  node.given[1]!.finish({ kind: 'acknowledged' });
  await settle();
  expect(node.fates).toEqual([[2, 'acknowledged']]);
});

test('what is past its time is expired and never handed over; what was settled before is passed over', async () => {
  const node = make({ settled: [1] });
  node.store(item('settled'));
  node.store(item('late', 1, { expiresAt: node.clock.now() + 1_000 }));
  node.store(item('good'));
  await node.holding.fetch();
  await node.clock.advance(1_000);
  node.holding.serve();
  expect([node.names(), node.fates]).toEqual([['good'], [[2, 'expired']]]);
});

test('a message that is none is dropped with its reason, and the next one goes', async () => {
  const node = make();
  node.put(Buffer.from('no JSON'));
  node.store(item('good'));
  await node.holding.fetch();
  node.holding.serve();
  expect([node.fates, node.names()]).toEqual([[[1, 'dropped']], ['good']]);
});

test('I10, I13: one turn hands over 32, and no more than 64 are held however many are stored', async () => {
  const node = make({ window: 32 });
  for (let n = 0; n < 200; n++) node.store(item(`o${n}`));
  await node.holding.fetch();
  expect(node.holding.waiting.messages).toBe(64);
  node.holding.serve();
  expect(node.given.length).toBe(32);
  expect(node.holding.serve()).toBe(false);
});

test('what did not fit is read by halves of the room, not one message a question', async () => {
  const node = make({ window: 32 });
  for (let n = 0; n < 200; n++) node.store(item(`o${n}`));
  await node.holding.fetch();
  node.holding.serve();
  let fetched = 0;
  for (let done = 0; done < 200; done++) {
    node.given[done]!.finish({ kind: 'acknowledged' });
    await settle();
    if (node.fetches() > fetched) {
      fetched = node.fetches();
      await node.holding.fetch();
    }
    node.holding.serve();
    // The edge always has its whole window to do, while there is something left.
    expect(node.given.length).toBe(Math.min(200, done + 1 + 32));
  }
  expect(node.reads()).toBeLessThanOrEqual(6);
});
