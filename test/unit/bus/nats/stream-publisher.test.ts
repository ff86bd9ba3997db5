import { headers } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { StreamPublisher } from '../../../../src/bus/nats/stream-publisher.ts';
import { createMetrics } from '../../../../src/core/metrics.ts';
import type { NatsConnection } from '../../../../src/nats/nats-connection.ts';
import { ManualClock, settle } from '../../../fakes/manual-clock.ts';

/** A publisher on a connection that keeps what was sent; a test answers, or does not. */
function make({ inFlightMessages = 10, inFlightBytes = 10_000 } = {}) {
  const clock = new ManualClock();
  const sent: { subject: string; reply: string }[] = [];
  const up: ((nats: unknown, fresh: boolean) => void)[] = [];
  const down: (() => void)[] = [];
  let answerTo: (error: null, message: unknown) => void = () => {};
  let [problem, refusals] = [undefined as string | undefined, 0];
  const nats = {
    info: { max_payload: 5_000 },
    publish: (subject: string, _payload: unknown, { reply }: { reply: string }) =>
      void sent.push({ subject, reply }),
    subscribe: (_subject: string, { callback }: { callback: typeof answerTo }) => {
      answerTo = callback;
    },
  };
  const connection = {
    problem: () => problem,
    current: () => nats,
    atTurnEnd: (send: () => void) => void setImmediate(send),
    onUp: (listener: (typeof up)[number]) => {
      up.push(listener);
      listener(nats, true);
      return () => {};
    },
    onDown: (listener: () => void) => {
      down.push(listener);
      return () => {};
    },
  } as unknown as NatsConnection;
  const publisher = new StreamPublisher(
    { connection, clock, metrics: createMetrics({ process: false }), onRefused: () => void refusals++ },
    { limits: { inFlightMessages, inFlightBytes }, requestTimeoutMs: 1_000 },
  );
  return {
    clock,
    publisher,
    sent,
    refusals: () => refusals,
    publish: (bytes = 10, patienceMs = 5_000) => {
      const payload = new Uint8Array(bytes);
      return publisher.publish({ stream: 's', subject: 'x', payload, headers: headers(), patienceMs });
    },
    answer: (index: number, body: object) =>
      answerTo(null, { subject: sent[index]!.reply, json: () => body, headers: undefined }),
    lose: () => {
      problem = 'nats: away';
      for (const listener of down) listener();
    },
    regain: () => {
      problem = undefined;
      for (const listener of up) listener(nats, false);
    },
  };
}

test('a message is done when JetStream confirms it, whatever the order of the confirmations', async () => {
  const rig = make();
  const [one, two] = [rig.publish(), rig.publish()];
  await settle();
  rig.answer(1, { seq: 8, duplicate: true });
  rig.answer(0, { seq: 7 });
  expect(await Promise.all([one, two])).toEqual([
    { seq: 7, duplicate: false },
    { seq: 8, duplicate: true },
  ]);
  await rig.clock.advance(10_000);
  expect(rig.sent.length).toBe(2);
});

test('what gets no answer is sent again under the same reply, and fails when its patience is over', async () => {
  const rig = make();
  const lost = rig.publish();
  lost.catch(() => {});
  await settle();
  await rig.clock.advance(1_000);
  expect(rig.sent.length).toBe(2);
  expect(rig.sent[1]).toEqual(rig.sent[0]);
  expect(rig.publisher.problem()).toContain('confirms no messages');
  await rig.clock.advance(4_000);
  await expect(lost).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
});

test('without a connection nothing is sent; with the next one everything is, at once', async () => {
  const rig = make();
  rig.lose();
  const waits = rig.publish();
  await settle();
  await rig.clock.advance(2_000);
  expect(rig.sent).toEqual([]);
  rig.regain();
  expect(rig.sent.length).toBe(1);
  rig.answer(0, { seq: 1 });
  expect((await waits).seq).toBe(1);
});

test('I13: what is not confirmed is bounded in messages and bytes, and a confirmation makes room', async () => {
  const rig = make({ inFlightMessages: 2, inFlightBytes: 2_000 });
  const first = rig.publish(1_500);
  await expect(rig.publish(1_600)).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  rig.publish(10).catch(() => {});
  await expect(rig.publish(10)).rejects.toMatchObject({ code: 'QUEUE_FULL' });
  await settle();
  rig.answer(0, { seq: 1 });
  await first;
  rig.publish(1_500).catch(() => {});
  await settle();
  expect(rig.sent.length).toBe(3);
});

test('a refusal for now is tried again, a full queue and a message that is too large are told', async () => {
  const rig = make();
  const later = rig.publish();
  await settle();
  rig.answer(0, { error: { err_code: 10_008, description: 'no leader' } });
  expect(rig.refusals()).toBe(1);
  await rig.clock.advance(300);
  expect(rig.sent.length).toBe(2);
  rig.answer(1, { seq: 3 });
  expect((await later).seq).toBe(3);
  const full = rig.publish();
  await settle();
  rig.answer(2, { error: { err_code: 10_077, description: 'maximum messages per subject exceeded' } });
  await expect(full).rejects.toMatchObject({ code: 'QUEUE_FULL', message: expect.stringContaining('node') });
  await expect(rig.publish(4_500)).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE' });
});

test('a stop takes nothing more, waits for what is under way, and fails what is not confirmed then', async () => {
  const rig = make();
  const [kept, lost] = [rig.publish(), rig.publish()];
  lost.catch(() => {});
  await settle();
  const stopping = rig.publisher.stop(new AbortController().signal);
  await expect(rig.publish()).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
  rig.answer(0, { seq: 1 });
  expect((await kept).seq).toBe(1);
  for (let n = 0; n < 500; n++) await rig.clock.advance(5);
  await stopping;
  await expect(lost).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
});
