import { expect, test, vi } from 'vitest';
import { type CloseReasonName, closeReason } from '../../../src/protocol/close-reasons.ts';
import { reconnectDelayMs } from '../../../src/sdk/reconnect-delay.ts';
import { readRefusal } from '../../../src/sdk/transports/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { eventuallyHolds } from '../../support/eventually.ts';
import { EdgeFixture, next } from './edge-fixture.ts';

const policy = { minMs: 1000, maxMs: 60_000, random: () => 0.5 };
const after = (reason: Parameters<typeof reconnectDelayMs>[0], failures: number, renewed = false) =>
  reconnectDelayMs(reason, { failures, renewed }, policy);

test('the delay grows with each failure, is bounded, and never shorter than the hint of the hub', () => {
  expect([1, 2, 3, 10].map((failures) => after(undefined, failures))).toEqual([750, 1500, 3000, 45_000]);
  expect(after(closeReason('TryAgainLater', 20_000), 1)).toBe(20_000);
  expect(after(closeReason('TryAgainLater', 1e9), 1)).toBe(3_600_000);
});

test('"soon" means the hint, or at once with some jitter, but not in a circle', () => {
  expect(after(closeReason('Draining', 3_210), 0)).toBe(3_210);
  expect(after(closeReason('Draining'), 0)).toBe(500);
  expect(after(closeReason('Draining'), 6)).toBe(24_000);
});

test('"renew" returns at once with the new certificate, once', () => {
  expect(after(closeReason('CertificateExpired'), 1, true)).toBe(0);
  expect(after(closeReason('CertificateExpired'), 2, true)).toBe(1500);
  expect(after(closeReason('CertificateExpired'), 1, false)).toBe(750);
});

test('reads a refusal by its word, else by its status; a bare 403 is not final', () => {
  const name = (word: string | undefined, status: number) => readRefusal({ word, status, detail: '' }).name;
  expect(name('revoked', 401)).toBe('Revoked');
  expect(name('NodeMismatch', 403)).toBe('NodeMismatch');
  expect(name('expired', 401)).toBe('CertificateExpired');
  expect(name(undefined, 401)).toBe('Unauthenticated');
  expect(name(undefined, 403)).toBe('TryAgainLater');
  expect(name('constructor', 403)).toBe('TryAgainLater');
  expect(name('Draining', 403)).toBe('Draining');
  expect(name('TakenOver', 401)).toBe('Unauthenticated');
  expect(name(undefined, 503)).toBe('TryAgainLater');
});

test.each(['Revoked', 'NodeMismatch'] satisfies CloseReasonName[])(
  'stays away after %s, and says so to everyone who waits',
  async (name) => {
    await using edge = await EdgeFixture.start();
    const clock = new ManualClock(Date.now());
    const client = await edge.connect({ heartbeatMs: 1e9 }, { clock });
    edge.hub.acknowledge = 'never';
    const failed = expect(client.send({ resource: 'a', operation: 'b' })).rejects.toMatchObject({
      code: 'SHUT_OUT',
    });
    const down = next(client, 'disconnected');
    edge.hub.closeWith(closeReason(name));
    expect(await down).toMatchObject({ reason: { name }, final: { code: 'SHUT_OUT' } });
    await failed;
    await clock.advance(3_600_000);
    expect(edge.hub.attempts).toHaveLength(1);
  },
);

test('waits as long as a draining hub asks', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  const client = await edge.connect({ heartbeatMs: 1e9 }, { clock });
  const down = next(client, 'disconnected');
  edge.hub.closeWith(closeReason('Draining', 4_000));
  expect(await down).toMatchObject({ reason: { name: 'Draining' }, final: undefined });
  await clock.advance(3_999);
  expect(edge.hub.attempts).toHaveLength(1);
  const back = next(client, 'connected');
  await clock.advance(1);
  await back;
});

test('backs off while the hub vanished or refuses, and comes back', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  const client = await edge.connect(
    { heartbeatMs: 1e9, reconnect: { minMs: 1000, maxMs: 60_000 } },
    { clock, random: () => 0.5 },
  );
  edge.hub.refuseConnect = { status: 503, text: 'at its limit', headers: { 'Retry-After': '30' } };
  const down = next(client, 'disconnected');
  edge.hub.drop();
  expect(await down).toEqual({ reason: undefined, final: undefined });
  const error = next(client, 'error');
  await clock.advance(750);
  expect(await error).toMatchObject({
    code: 'CONNECT_REFUSED',
    details: { problem: 'at its limit', status: 503 },
  });
  edge.hub.refuseConnect = undefined;
  const back = vi.fn();
  client.on('connected', back);
  await clock.advance(29_000);
  expect(edge.hub.attempts).toHaveLength(2);
  await clock.advance(1_000);
  await eventuallyHolds(() => expect(back).toHaveBeenCalled());
});

test('renews first when the hub says so, then returns with the new certificate', async () => {
  await using edge = await EdgeFixture.start();
  const client = await edge.connect();
  const { fingerprint } = edge.hub.session;
  const back = next(client, 'connected');
  edge.hub.closeWith(closeReason('CertificateExpired'));
  await back;
  await eventuallyHolds(() => expect(edge.hub.sessions).toHaveLength(2));
  expect(edge.hub.enrolments).toHaveLength(2);
  expect(edge.hub.enrolments[1]!.headers.authorization).toBeUndefined();
  expect(edge.hub.session.fingerprint).not.toBe(fingerprint);
});

test('a refusal before the upgrade is obeyed like a close: never', async () => {
  await using edge = await EdgeFixture.start();
  edge.hub.refuseConnect = {
    status: 403,
    text: 'the certificate is revoked',
    headers: { 'Sallyport-Reason': 'revoked' },
  };
  const client = await edge.join();
  await expect(client.connect()).rejects.toMatchObject({ code: 'SHUT_OUT' });
  expect(edge.hub.attempts).toHaveLength(1);
  // A person has acted.
  edge.hub.refuseConnect = undefined;
  await client.connect();
});

test('I7: a hub that fell silent is left, though TCP notices nothing', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  const client = await edge.connect({}, { clock });
  edge.hub.session.socket.pause();
  const down = next(client, 'disconnected');
  await clock.advance(30_000);
  expect(await down).toEqual({ reason: undefined, final: undefined });
});

test('connect gives up waiting when asked to, and goes on trying', async () => {
  await using edge = await EdgeFixture.start();
  edge.hub.refuseConnect = { status: 503 };
  const client = await edge.join();
  const stop = new AbortController();
  const failed = expect(client.connect({ signal: stop.signal })).rejects.toThrow('enough');
  await next(client, 'error');
  stop.abort(new Error('enough'));
  await failed;
  const back = next(client, 'connected');
  edge.hub.refuseConnect = undefined;
  await back;
});

test('I6: a hub that takes nothing any more is left after the write time-out, and what it did not take is sent again', async () => {
  await using edge = await EdgeFixture.start();
  const clock = new ManualClock(Date.now());
  const client = await edge.connect({ heartbeatMs: 1e9, writeTimeoutMs: 30_000 }, { clock });
  const first = edge.hub.session;
  first.socket.pause();
  // More than the buffers of both sockets hold.
  const large = 'x'.repeat(8 * 1024 * 1024);
  const sent = [1, 2].map((n) =>
    client.send({ resource: 'a', operation: 'update', content: `${n}${large}` }),
  );
  await eventuallyHolds(() => expect(first.socket.isPaused).toBe(true));
  const down = next(client, 'disconnected');
  await clock.advance(30_000);
  await down;
  const back = next(client, 'connected');
  await clock.advance(1_000);
  await back;
  await Promise.all(sent);
  expect(edge.hub.contents.map((content) => String(content)[0])).toEqual(['1', '2']);
});
