import { connect, type TLSSocket } from 'node:tls';
import { expect, test } from 'vitest';
import type { UpstreamEvent } from '../../../src/contracts/message-bus.ts';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { createMessage, type Message } from '../../../src/protocol/message.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { bundleOf } from '../../support/pki/fixed-source.ts';
import { mintCa, mintServer } from '../../support/pki/pki.ts';
import { mintAdmin, startAdmin } from './admin-fixture.ts';

type Hub = Awaited<ReturnType<typeof startAdmin>>;

function event(content: unknown): UpstreamEvent {
  const route = { source: 'edged', group: 'resource', operation: 'update', resource: 'default/pod/p' };
  const message = createMessage(route, content, { now: 1 });
  return { type: 'message', direction: 'upstream', node: 'edge-1', sessionId: 's', message, bytes: 1 };
}

/** Follows with a bare socket, so that the test decides when it reads. */
async function follow(hub: Hub, query = '', headers = '') {
  const { host, port } = hub.listener.address();
  const before = hub.bus.followers.size;
  const socket: TLSSocket = connect({ host, port, ca: hub.ca.pem, cert: hub.admin.pem, key: hub.admin.key });
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.write(`GET /api/v1/events${query} HTTP/1.1\r\nHost: hub\r\n${headers}\r\n`);
  await expect.poll(() => hub.bus.followers.size > before || text.includes('\r\n\r\n')).toBe(true);
  return { socket, closed, text: () => text };
}

test('events arrive as Server-Sent Events with id, kind and one line of JSON', async () => {
  await using hub = await startAdmin();
  const follower = await follow(hub);
  const sent = event('a\nb');
  hub.bus.publish(sent);
  hub.bus.publish({ type: 'connected', node: 'edge-1', sessionId: 's', transport: 'websocket', at: 5 });
  await expect.poll(follower.text).toContain('event: connected');
  expect(follower.text()).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(follower.text()).toMatch(/content-type: text\/event-stream; charset=utf-8\r\n/);
  expect(follower.text()).toContain(`id: 1\nevent: message\ndata: ${JSON.stringify(sent)}\n\n`);
});

test('the filter of the query reaches the bus, and a wrong one is 400', async () => {
  await using hub = await startAdmin();
  await follow(
    hub,
    '?node=edge-1&type=message&type=connected&direction=downstream&direction=upstream&group=resource&source=edged&operation=update&resourcePrefix=default/',
  );
  await follow(hub, '?type=message');
  expect([...hub.bus.followers].map(({ filter }) => filter)).toEqual([
    {
      node: 'edge-1',
      types: ['message', 'connected'],
      directions: ['downstream', 'upstream'],
      group: 'resource',
      source: 'edged',
      operation: 'update',
      resourcePrefix: 'default/',
    },
    { types: ['message'] },
  ]);
  for (const query of ['?type=other', '?direction=both', '?node=A_B', '?unknown=1', '?group='])
    expect((await hub.get(`/api/v1/events${query}`)).status).toBe(400);
});

test('P6: what is sent to nodes has its direction and no id, so that it does not move where a follower goes on', async () => {
  await using hub = await startAdmin();
  const follower = await follow(hub, '?direction=downstream');
  const { message } = event('to you') as { message: Message };
  const sent = {
    type: 'message',
    direction: 'downstream',
    node: 'edge-1',
    sessionId: 's',
    message,
    bytes: 1,
  } as const;
  for (const { onEvent } of hub.bus.followers) onEvent({ id: undefined, event: sent });
  await expect.poll(follower.text).toContain(`\r\nevent: message\ndata: ${JSON.stringify(sent)}\n\n`);
  hub.bus.publish(event('kept'));
  hub.bus.lost = 1;
  const again = await follow(hub, '?direction=downstream', 'Last-Event-ID: 0\r\n');
  await expect.poll(again.text).toContain('event: missed\ndata: {"type":"missed","count":1}\n\n');
});

test('P4: what is sent to nodes is for operators alone: a viewer is refused it, and follows the rest', async () => {
  const clock = new ManualClock();
  await using hub = await startAdmin({ clock, options: { heartbeatMs: 1000 } });
  const as = await mintAdmin(hub.ca, { subject: 'O=sallyport:viewers,CN=eve' });
  for (const query of ['?direction=downstream', '?direction=upstream&direction=downstream'])
    expect(await hub.get(`/api/v1/events${query}`, { as })).toMatchObject({
      status: 403,
      json: { error: { code: 'OPERATOR_NEEDED' } },
    });
  expect(hub.bus.followers.size).toBe(0);
  expect(await hub.metrics.expose()).toContain('reason="not-operator"} 2');
  const viewer = await follow({ ...hub, admin: as }, '?direction=upstream');
  await clock.advance(1000);
  await expect.poll(viewer.text).toContain(': alive');
});

test('Last-Event-ID goes on after the last event the follower has', async () => {
  await using hub = await startAdmin();
  for (const content of ['one', 'two', 'three']) hub.bus.publish(event(content));
  const byHeader = await follow(hub, '?afterId=2', 'Last-Event-ID: 1\r\n');
  const byQuery = await follow(hub, '?afterId=2');
  await expect.poll(byHeader.text).toContain('"three"');
  await expect.poll(byQuery.text).toContain('"three"');
  expect([byHeader.text().includes('"one"'), byHeader.text().includes('"two"')]).toEqual([false, true]);
  expect(byQuery.text()).not.toContain('"two"');
});

test('L9: a follower that returns too late is told how many events are gone, whatever its filter', async () => {
  await using hub = await startAdmin();
  for (const content of ['one', 'two', 'three', 'four']) hub.bus.publish(event(content));
  hub.bus.lost = 3;
  const follower = await follow(hub, '?type=message', 'Last-Event-ID: 1\r\n');
  await expect.poll(follower.text).toContain('"four"');
  const [missed, ...others] = follower
    .text()
    .match(/^(?:id|event|data): .*$/gm)!
    .join('|')
    .split('|id: ');
  expect(missed).toBe('event: missed|data: {"type":"missed","count":2}');
  expect(others).toEqual([expect.stringMatching(/^4\|event: message\|/), '4']);
});

test('L9: the signs of life carry the id to go on after, also while nothing passes the filter', async () => {
  const clock = new ManualClock();
  await using hub = await startAdmin({ clock, options: { heartbeatMs: 1000 } });
  hub.bus.publish(event('before'));
  const follower = await follow(hub, '?node=edge-7');
  await expect.poll(follower.text).toContain(': following\nid: 1\n\n');
  hub.bus.publish(event('later'));
  await clock.advance(1000);
  await expect.poll(follower.text).toContain(': alive\nid: 2\n\n');
});

test('a follower that goes is forgotten, with its timer', async () => {
  const clock = new ManualClock();
  await using hub = await startAdmin({ clock });
  const follower = await follow(hub);
  expect(clock.pending).toBe(1);
  follower.socket.destroy();
  await expect.poll(() => hub.bus.followers.size).toBe(0);
  expect(clock.pending).toBe(0);
});

test('an idle stream gets a sign of life each period', async () => {
  const clock = new ManualClock();
  await using hub = await startAdmin({ clock, options: { heartbeatMs: 1000 } });
  const follower = await follow(hub);
  await clock.advance(2500);
  await expect.poll(() => follower.text().split(': alive').length - 1).toBe(2);
});

test('a slow follower is cut off and counted, the others are not, and it can go on where it was', async () => {
  await using hub = await startAdmin({ options: { followerBufferBytes: 1 << 20 } });
  const slow = await follow(hub);
  const good = await follow(hub);
  slow.socket.pause();
  let published = 0;
  while (hub.bus.followers.size === 2 && published < 1000) {
    hub.bus.publish(event('x'.repeat(500_000)));
    published++;
    const seen = () => good.text().lastIndexOf(`id: ${published}\n`) >= 0;
    await expect.poll(seen, { interval: 5 }).toBe(true);
  }
  expect(hub.bus.followers.size).toBe(1);
  expect(await hub.metrics.expose()).toContain('sallyport_admin_followers_cut_off_total 1');
  slow.socket.resume();
  await slow.closed.catch(() => {});
  const last = Math.max(...[...slow.text().matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id)));
  expect(slow.text()).toContain(': ended, too slow');
  expect(last).toBe(published);
  hub.bus.publish(event('later'));
  const again = await follow(hub, '', `Last-Event-ID: ${last}\r\n`);
  await expect.poll(again.text).toContain('"later"');
});

test('a cut off follower that takes nothing at all is dropped after its time', async () => {
  const clock = new ManualClock();
  const options = { followerBufferBytes: 1 << 20, followerFlushMs: 5000 };
  await using hub = await startAdmin({ clock, options });
  const slow = await follow(hub);
  slow.socket.pause();
  for (let n = 0; n < 300 && hub.bus.followers.size > 0; n++) {
    hub.bus.publish(event('x'.repeat(100_000)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect([hub.bus.followers.size, clock.pending]).toEqual([0, 1]);
  await clock.advance(5000);
  slow.socket.resume();
  await slow.closed;
  expect(slow.text()).not.toContain(': ended, too slow');
});

test('followers are limited in number', async () => {
  await using hub = await startAdmin({ options: { maxFollowers: 1 } });
  await follow(hub);
  const second = await hub.get('/api/v1/events');
  expect([second.status, second.json]).toMatchObject([503, { error: { code: 'QUEUE_FULL' } }]);
  expect(hub.bus.followers.size).toBe(1);
});

test('a follower whose certificate is good no longer is ended at the next heartbeat', async () => {
  const clock = new ManualClock();
  await using hub = await startAdmin({ clock, options: { heartbeatMs: 1000 } });
  const follower = await follow(hub);
  await clock.advance(1000);
  expect(hub.bus.followers.size).toBe(1);
  hub.skewMs = 40 * 86_400_000;
  await clock.advance(1000);
  await expect.poll(follower.text).toContain(': ended, not allowed any longer');
  expect(hub.bus.followers.size).toBe(0);
});

test('another hub certificate leaves followers alone, another CA ends them', async () => {
  await using hub = await startAdmin();
  const follower = await follow(hub);
  hub.listener.applyBundle(bundleOf({ ca: hub.ca, server: await mintServer(hub.ca) }));
  expect(hub.bus.followers.size).toBe(1);
  const ca = await mintCa();
  const next = bundleOf({ ca, server: await mintServer(ca) });
  hub.source.set(next);
  hub.listener.applyBundle(next);
  await expect.poll(follower.text).toContain(': ended, not allowed any longer');
  expect(hub.bus.followers.size).toBe(0);
});

test('G7: a follower whose certificate is revoked is ended at once, not at the next heartbeat', async () => {
  await using hub = await startAdmin({ clock: new ManualClock() });
  const follower = await follow(hub);
  await hub.revocations.revoke({ target: { node: 'edge-1' }, reason: 'unspecified', by: 'bob' });
  expect(hub.bus.followers.size).toBe(1);
  const { serialNumber: serial } = hub.admin.certificate;
  await hub.revocations.revoke({ target: { serial }, reason: 'keyCompromise', by: 'bob' });
  await expect.poll(follower.text).toContain(': ended, not allowed any longer');
  expect(hub.bus.followers.size).toBe(0);
});

test('a stop ends the streams at once, and does not wait for its deadline', async () => {
  const hub = await startAdmin();
  const follower = await follow(hub);
  await hub.listener.stop(closeReason('Draining'), new AbortController().signal);
  await follower.closed;
  expect(follower.text()).toContain(': ended, the gateway is shutting down');
});
