import { expect, test } from 'vitest';
import { createMessage, createResponse, type Message } from '../../../src/protocol/message.ts';
import { Outbox } from '../../../src/sdk/outbox.ts';
import type { EdgeLink } from '../../../src/sdk/transports/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

const message = (resource: string) =>
  createMessage({ source: 'edged', operation: 'update', resource }, 1, { now: 0, sync: true });

/** A link that takes messages about `large` when told to, all others at once. */
function start() {
  const clock = new ManualClock(0);
  const outbox = new Outbox({ clock }, { messages: 10, bytes: 10_000, window: 4, ackTimeoutMs: 30_000 });
  const { promise: taken, resolve: take } = Promise.withResolvers<void>();
  const handed: Message[] = [];
  const link: EdgeLink = {
    transport: 'quic',
    remoteAddress: 'hub:1',
    receive() {},
    async send(one) {
      handed.push(one);
      if (one.route.resource === 'large') await taken;
    },
    close() {},
  };
  outbox.attach(link);
  return { clock, outbox, handed, take };
}

test('a message the link is slow to take does not hold up the next', async () => {
  const { outbox, handed, take } = start();
  const [large, small] = [message('large'), message('small')];
  const sent = [outbox.add(large, { answered: true }), outbox.add(small, { answered: true })];
  expect(handed).toEqual([large, small]);
  outbox.settle(createResponse(small, 'OK', { now: 0 }));
  await sent[1];
  take();
  outbox.settle(createResponse(large, 'OK', { now: 0 }));
  await sent[0];
});

test('the acknowledgement of a message is overdue only from when the link took it', async () => {
  const { clock, outbox, handed, take } = start();
  const large = message('large');
  const sent = outbox.add(large, { answered: true });
  await clock.advance(60_000);
  expect(handed).toHaveLength(1);
  take();
  await clock.advance(30_000);
  expect(handed).toEqual([large, large]);
  outbox.settle(createResponse(large, 'OK', { now: 0 }));
  await sent;
});
