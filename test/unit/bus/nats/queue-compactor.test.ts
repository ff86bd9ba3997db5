import { headers } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { HEADER, objectDigest } from '../../../../src/bus/nats/nats-messages.ts';
import { QueueCompactor } from '../../../../src/bus/nats/queue-compactor.ts';
import { Subjects } from '../../../../src/bus/nats/subjects.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { itemFor, objectMessage } from '../../../support/edges/messages.ts';

type Parts = ConstructorParameters<typeof QueueCompactor>[0];
const item = (name: string, version: number) => itemFor('edge-1', objectMessage(name, version));

/** A queue that holds one message of each of these objects, from sequence 1 on. */
function make(names: readonly string[], leaving: readonly number[] = []) {
  const clock = new ManualClock();
  const [removed, told, published] = [[] as number[], [] as unknown[], [] as number[]];
  let surveys = 0;
  const parts = {
    clock,
    reader: {
      read: async function* () {
        surveys++;
        for (const [index, name] of names.entries()) {
          const sent = headers();
          sent.set(HEADER.object, objectDigest(item(name, 1))!);
          sent.set(HEADER.outcomeTo, `outcome.${index + 1}`);
          if (!removed.includes(index + 1)) yield { seq: index + 1, headers: sent };
        }
      },
    },
    deleter: { remove: async (seq: number) => void removed.push(seq) },
    remover: { has: (seq: number) => leaving.includes(seq) },
    tell: (to: { outcomeTo: string | undefined }, outcome: object) => told.push([to.outcomeTo, outcome]),
  } as unknown as Parts;
  const compactor = new QueueCompactor(parts, { subjects: new Subjects('t') });
  const makeRoom = (name: string) =>
    compactor.makeRoom(item(name, 9), async () => {
      published.push(removed.length);
      return { seq: 100, duplicate: false };
    });
  return { clock, makeRoom, removed, told, published, surveys: () => surveys };
}

test('every version that a newer one replaced is taken out before the message goes, and its sender is told', async () => {
  const queue = make(['a', 'b', 'a', 'a']);
  expect(await queue.makeRoom('new')).toEqual({ seq: 100, duplicate: false });
  expect(queue.removed).toEqual([1, 3]);
  expect(queue.published).toEqual([2]);
  expect(queue.told).toEqual([
    ['outcome.1', { kind: 'superseded' }],
    ['outcome.3', { kind: 'superseded' }],
  ]);
});

test('a queue full of different objects gives room only to a newer version of one of them', async () => {
  const queue = make(['a', 'b']);
  await expect(queue.makeRoom('new')).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  expect([queue.removed, queue.published]).toEqual([[], []]);
  await queue.makeRoom('b');
  expect([queue.removed, queue.published]).toEqual([[2], [1]]);
});

test('a full queue is not searched again for a second for an object it does not hold, and then it is', async () => {
  const queue = make(['a', 'b']);
  for (let n = 0; n < 20; n++)
    await expect(queue.makeRoom('new')).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  expect(queue.surveys()).toBe(1);
  await queue.clock.advance(1_000);
  await expect(queue.makeRoom('new')).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  expect(queue.surveys()).toBe(2);
});

test('a message that is settled and only waits to be removed makes no room', async () => {
  const queue = make(['a', 'a'], [1]);
  await expect(queue.makeRoom('new')).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  expect(queue.removed).toEqual([]);
});
