import { describe, expect, test } from 'vitest';
import { closeReason } from '../../../../src/protocol/close-reasons.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { eventually } from '../../../support/eventually.ts';
import { closeOf, message, start, useWebSocketListeners } from './websocket-rig.ts';

useWebSocketListeners();

describe('the end', () => {
  test('close tells code and reason, and onClose is called once with it', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    const closed = closeOf(socket);
    record.connection.close(closeReason('TakenOver'));
    record.connection.close(closeReason('Disconnected'));
    expect(await closed).toEqual({
      code: 4409,
      text: 'TakenOver: a newer connection of the same node took over',
    });
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.closes).toMatchObject([{ name: 'TakenOver' }]);
  });

  test('a peer that does not answer the close frame is cut off soon', async () => {
    const clock = new ManualClock();
    const { join } = await start({ clock });
    const { socket, record } = await join();
    socket.pause();
    record.connection.close(closeReason('Draining', 500));
    await clock.advance(1_000);
    expect(record.closes).toHaveLength(0);
    await clock.advance(1_500);
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.closes).toMatchObject([{ name: 'Draining', reconnectAfterMs: 500 }]);
  });

  test('G2: what a peer sends after it was told to go reaches nobody', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    socket.pause();
    record.connection.close(closeReason('TakenOver'));
    socket.send(JSON.stringify(message()));
    socket.ping();
    socket.resume();
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.messages).toHaveLength(0);
  });

  test('a peer that closes or vanishes is told apart', async () => {
    const { join } = await start();
    const polite = await join();
    polite.socket.close(1000);
    await eventually('onClose', () => polite.record.closes.length === 1);
    expect(polite.record.closes).toMatchObject([{ name: 'Normal' }]);
    const gone = await join();
    gone.socket.terminate();
    await eventually('onClose', () => gone.record.closes.length === 1);
    expect(gone.record.closes).toEqual([undefined]);
  });

  test('I12: 200 connections of one node at once are each handed to the hub, none is lost or leaks', async () => {
    const { join, acceptor, metrics } = await start();
    const all = await Promise.all(Array.from({ length: 200 }, () => join()));
    expect(acceptor.accepted).toHaveLength(200);
    for (const { socket } of all) socket.terminate();
    await eventually('all closed', () => acceptor.accepted.every(({ closes }) => closes.length === 1));
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
  });

  test('stop leaves the sessions to the hub, destroys them when the deadline passes, and arms no timer any more', async () => {
    const clock = new ManualClock();
    const { listener, join, attempt } = await start({ clock });
    const { record } = await join();
    const deadline = new AbortController();
    await listener.stop(closeReason('Draining'), deadline.signal);
    expect(record.closes).toHaveLength(0);
    await record.connection.send(message('still there'));
    expect((await attempt()).open).toBe(false);
    deadline.abort();
    await eventually('cut off', () => record.closes.length === 1);
    await eventually('no timer', () => clock.pending === 0);
  });
});
