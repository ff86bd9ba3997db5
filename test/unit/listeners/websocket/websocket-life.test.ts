import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { eventually, settled } from '../../../support/eventually.ts';
import { message, start, useWebSocketListeners } from './websocket-rig.ts';

useWebSocketListeners();

describe('life', () => {
  test('I7, I8: pings are answered with their data, and ping and pong count as life', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    socket.ping('abc');
    const [data] = (await once(socket, 'pong')) as [Buffer];
    expect(data.toString()).toBe('abc');
    expect(record.alive).toBe(1);
    socket.pong();
    await eventually('a pong counted', () => record.alive === 2);
  });

  test('L3: the round trip is measured by a ping now and then; its answer is no sign of life, and nobody is ended for silence', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock });
    const { socket, record } = await join();
    const mute = await join({ client: { autoPong: false } });
    const pings: string[] = [];
    socket.on('ping', (data: Buffer) => void pings.push(data.toString()));
    await clock.advance(1_000);
    await eventually('a round trip', () => record.connection.stats().rttMs !== undefined);
    expect(record.connection.stats().rttMs).toBeLessThanOrEqual(1_000);
    expect(record.alive).toBe(0);
    socket.pong('something else');
    await eventually('a pong of its own counted', () => record.alive === 1);
    await clock.advance(20_000);
    expect(pings).toHaveLength(1);
    await clock.advance(300_000);
    await eventually('another ping', () => pings.length > 1);
    expect(mute.record.connection.stats().rttMs).toBeUndefined();
    expect(mute.record.closes).toEqual([]);
  });

  test('I9: with all consumers blocked it reads no further than the bounds, and life goes on being reported', async () => {
    const clock = new ManualClock();
    const { join, acceptor } = await start({ clock, options: { maxPendingUpstream: 4 } });
    const blocked = Promise.withResolvers<void>();
    acceptor.onMessage = () => blocked.promise;
    const { socket, record } = await join();
    for (let n = 0; n < 6; n++) socket.send(JSON.stringify(message(n)));
    await eventually('two frames beyond the pending ones seen as life', () => record.alive === 2);
    expect(record.messages).toHaveLength(4);
    for (let n = 6; n < 4_000; n++) socket.send(JSON.stringify(message(n)));
    await eventually('the hub stopped reading', () => socket.bufferedAmount > 0 || record.alive > 50);
    const seen = await settled(() => record.alive, join);
    expect(seen).toBeLessThan(2_000);
    expect(record.messages).toHaveLength(4);
    await clock.advance(2_000);
    expect(record.alive).toBeGreaterThan(seen);
    acceptor.onMessage = () => {};
    blocked.resolve();
    await eventually('all of them', () => record.messages.length === 4_000);
    expect(record.messages.map(({ content }) => content)).toEqual(Array.from({ length: 4_000 }, (_, n) => n));
  });

  test('I6: a peer that does not read is ended after the write deadline, waiting senders are told, the queue is bounded', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock, limits: { writeTimeoutMs: 30_000 } });
    const { socket, record } = await join();
    socket.pause();
    const big = message('z'.repeat(500_000));
    let sent = 0;
    const sending = async () => {
      for (; ; sent++) await record.connection.send(big);
    };
    const outcome = expect(sending()).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    await settled(() => sent, join);
    await clock.advance(29_000);
    expect(record.closes).toHaveLength(0);
    await clock.advance(32_000);
    await outcome;
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.closes[0]).toMatchObject({ name: 'SlowConsumer' });
    await expect(record.connection.send(big)).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
  });

  test('I6: a caller that never waits cannot buffer without bound', async () => {
    const { join } = await start({ options: { maxMessageBytes: 1 << 18 } });
    const { socket, record } = await join();
    socket.pause();
    const big = message('z'.repeat(200_000));
    const results: Promise<void>[] = [];
    for (let n = 0; n < 200; n++) results.push(record.connection.send(big).catch(() => {}));
    await eventually('closed as slow', () => record.closes.length === 1);
    expect(record.connection.stats().bytesSent).toBeLessThan(200 * 200_000);
    await Promise.all(results);
  });

  test('a slow peer that keeps taking something is not ended', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock, limits: { writeTimeoutMs: 5_000 } });
    const { socket, record } = await join();
    let got = 0;
    socket.on('message', () => got++);
    for (let n = 0; n < 20; n++) {
      await record.connection.send(message('z'.repeat(100_000)));
      await clock.advance(2_000);
    }
    await eventually('all messages', () => got === 20);
    expect(record.closes).toHaveLength(0);
  });
});
