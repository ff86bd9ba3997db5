import { expect, test } from 'vitest';
import { RecentMessages } from '../../../src/hub/recent-messages.ts';

test('J2: a message sent again is taken once, also while it is being taken; other nodes may use the same id', async () => {
  const recent = new RecentMessages();
  const taken: string[] = [];
  const take = (what: string) => async () => void taken.push(what);
  await Promise.all([recent.once('a', '1', take('a1')), recent.once('a', '1', take('again'))]);
  await recent.once('a', '1', take('again'));
  await recent.once('b', '1', take('b1'));
  expect(taken).toEqual(['a1', 'b1']);
});

test('a message that was not taken may come again, and everyone who sent it meanwhile is told', async () => {
  const recent = new RecentMessages();
  const fail = () => Promise.reject(new Error('full'));
  const both = [recent.once('a', '1', fail), recent.once('a', '1', fail)];
  expect(await Promise.allSettled(both)).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }]);
  let count = 0;
  await recent.once('a', '1', async () => void count++);
  expect(count).toBe(1);
});

test('what is remembered of one node is bounded', async () => {
  const recent = new RecentMessages();
  let count = 0;
  for (let id = 0; id < 100; id++) await recent.once('a', `${id}`, async () => void count++);
  await recent.once('a', '0', async () => void count++);
  await recent.once('a', '99', async () => void count++);
  expect(count).toBe(101);
});
