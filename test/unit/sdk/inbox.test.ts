import { expect, test, vi } from 'vitest';
import { silentLogger } from '../../../src/core/log.ts';
import { createMessage, createResponse, type Message } from '../../../src/protocol/message.ts';
import { Inbox } from '../../../src/sdk/inbox.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const message = (content: unknown = null, operation = 'update') =>
  createMessage({ source: 'edgecontroller', group: 'resource', operation, resource: 'a/b' }, content, {
    now: 1,
  });

function setUp(deliver: (message: Message) => Promise<boolean> = async () => true, remembered?: number) {
  const replies: Message[] = [];
  const delivered = vi.fn(deliver);
  const inbox = new Inbox(
    {
      clock: new ManualClock(),
      logger: silentLogger,
      deliver: delivered,
      reply: (answer) => replies.push(answer),
    },
    remembered === undefined ? {} : { remembered },
  );
  return { inbox, replies, delivered };
}

test('what it remembers is bounded: the oldest ids are forgotten first', async () => {
  const { inbox, delivered } = setUp(undefined, 3);
  const messages = [1, 2, 3, 4].map((content) => message(content));
  for (const each of messages) await inbox.receive(each);
  await inbox.receive(messages[3]!);
  expect(delivered).toHaveBeenCalledTimes(4);
  await inbox.receive(messages[0]!);
  expect(delivered).toHaveBeenCalledTimes(5);
});

test('a repetition while the program is still at work is neither delivered nor answered', async () => {
  const work = Promise.withResolvers<boolean>();
  const { inbox, delivered, replies } = setUp(() => work.promise);
  const first = message();
  const done = inbox.receive(first);
  await inbox.receive(first);
  expect(delivered).toHaveBeenCalledTimes(1);
  work.resolve(true);
  await done;
  expect(replies).toHaveLength(1);
});

test('an answer too large to keep is asked for again', async () => {
  const { inbox, delivered, replies } = setUp(async (asked) => {
    inbox.answered(createResponse(asked, 'x'.repeat(20_000), { now: 1 }));
    return true;
  });
  const question = message(null, 'get');
  await inbox.receive(question);
  await inbox.receive(question);
  expect(delivered).toHaveBeenCalledTimes(2);
  expect(replies).toEqual([]);
});

test.each([
  ['response', 'OK'],
  ['response', 'ack'],
  ['error', 'no'],
])('never acknowledges an acknowledgement: %s %s', async (operation, content) => {
  const { inbox, delivered, replies } = setUp();
  await inbox.receive(message(content, operation));
  expect(delivered).not.toHaveBeenCalled();
  expect(replies).toEqual([]);
});

test('a late answer with content, which nobody waits for any more, is delivered and, as the hub expects, not acknowledged', async () => {
  const { inbox, delivered, replies } = setUp(async () => {
    throw new Error('the program cannot use it');
  });
  const late = createResponse(message(), { some: 'thing' }, { now: 1 });
  await inbox.receive(late);
  expect(delivered).toHaveBeenCalledExactlyOnceWith(late);
  expect(replies).toEqual([]);
});
