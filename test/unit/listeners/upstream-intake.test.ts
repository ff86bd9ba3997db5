import { expect, test } from 'vitest';
import type { EdgeConnectionHandler } from '../../../src/contracts/edge-connection.ts';
import { UpstreamIntake } from '../../../src/listeners/upstream-intake.ts';
import { createMessage, type Message } from '../../../src/protocol/message.ts';
import { settle } from '../../fakes/manual-clock.ts';

const LIMITS = { maxPendingUpstream: 3, maxMessageBytes: 100_000 };

/** An intake whose handler and decoder do what the test says; each message is its place in the order. */
function startIntake() {
  const seen = {
    arrivals: [] as number[],
    messages: [] as unknown[],
    alive: 0,
    backlog: [] as [number, boolean][],
    broken: [] as unknown[],
    failed: [] as unknown[],
  };
  const does = {
    onArrival: (): undefined | Promise<void> => undefined,
    onMessage: (): void | Promise<void> => {},
    decode: (bytes: Uint8Array): Message | Promise<Message> => createMessage({}, bytes[0], { now: 0 }),
  };
  const intake = new UpstreamIntake(
    {
      decode: (bytes) => does.decode(bytes),
      onBroken: (error) => seen.broken.push(error),
      onFailed: (error) => seen.failed.push(error),
      onBacklog: (bytes, isFull) => seen.backlog.push([bytes, isFull]),
    },
    () => LIMITS,
  );
  const handler: EdgeConnectionHandler = {
    onArrival: (bytes) => {
      seen.arrivals.push(bytes);
      return does.onArrival();
    },
    onMessage: (message) => {
      seen.messages.push(message.content);
      return does.onMessage();
    },
    onAlive: () => {
      seen.alive++;
    },
    onClose: () => {},
  };
  intake.receive(handler);
  const take = (count: number, bytes = 10) => {
    for (let n = 0; n < count; n++) intake.take(Uint8Array.of(...[n], ...new Uint8Array(bytes - 1)));
  };
  return { intake, seen, does, take };
}

test('N2: what is not granted holds the rest back, in order; nothing is decoded or lost meanwhile', async () => {
  const { intake, seen, does, take } = startIntake();
  const granted = Promise.withResolvers<void>();
  does.onArrival = () => granted.promise;
  take(3, 10_000);
  await settle();
  expect(seen).toMatchObject({
    arrivals: [10_000],
    messages: [],
    alive: 2,
    backlog: [
      [10_000, false],
      [20_000, true],
    ],
  });
  intake.sweep();
  expect(seen.alive).toBe(3);
  does.onArrival = () => undefined;
  granted.resolve();
  await settle();
  expect(seen.messages).toEqual([0, 1, 2]);
  expect(seen.backlog.at(-1)).toEqual([0, false]);
  intake.sweep();
  expect(seen.alive).toBe(3);
});

test('N2: while a large message is decoded in turns, those behind it wait', async () => {
  const { seen, does, take } = startIntake();
  const decoded = Promise.withResolvers<Message>();
  does.decode = () => decoded.promise;
  take(1);
  does.decode = (bytes) => createMessage({}, bytes[0], { now: 0 });
  take(2);
  await settle();
  expect(seen.messages).toEqual([]);
  decoded.resolve(createMessage({}, 'large', { now: 0 }));
  await settle();
  expect(seen.messages).toEqual(['large', 0, 1]);
});

test('no more than the limit is with the handler, and each that it is done with lets one in', async () => {
  const { seen, does, take } = startIntake();
  const done: (() => void)[] = [];
  does.onMessage = () => new Promise<void>((resolve) => done.push(resolve));
  take(5);
  expect(seen.messages).toEqual([0, 1, 2]);
  done[0]!();
  await settle();
  expect(seen.messages).toEqual([0, 1, 2, 3]);
});

test('a message that cannot be decoded, now or later, is told; so is a handler that fails', async () => {
  const { seen, does, take } = startIntake();
  does.decode = () => {
    throw new Error('now');
  };
  take(1);
  does.decode = () => Promise.reject(new Error('later'));
  take(1);
  await settle();
  expect(seen.broken).toMatchObject([{ message: 'now' }, { message: 'later' }]);
  does.decode = (bytes) => createMessage({}, bytes[0], { now: 0 });
  does.onMessage = () => {
    throw new Error('at once');
  };
  take(1);
  does.onMessage = () => Promise.reject(new Error('in time'));
  take(1);
  await settle();
  expect(seen.failed).toMatchObject([{ message: 'at once' }, { message: 'in time' }]);
});

test('after its end it hands nothing over, and says how many messages that were', async () => {
  const { intake, seen, does, take } = startIntake();
  const granted = Promise.withResolvers<void>();
  does.onArrival = () => granted.promise;
  take(3);
  expect(intake.end()).toBe(3);
  expect(intake.end()).toBe(0);
  granted.resolve();
  take(1);
  await settle();
  expect(seen.messages).toEqual([]);
});
