import { expect, test } from 'vitest';
import { createMessage } from '../../src/protocol/message.ts';
import { startQuic } from '../support/edges/quic-rig.ts';
import { UdpRelay } from '../support/edges/udp-relay.ts';
import { eventually } from '../support/eventually.ts';

test('Q2: a NAT rebinding is followed within 500 ms', async () => {
  await using hub = await startQuic();
  await using relay = await UdpRelay.start({ targetPort: hub.port });
  const edge = await hub.connect('edge-1', { port: relay.port });
  await edge.echo('before');
  const took: number[] = [];
  for (let i = 0; i < 5; i++) {
    await relay.rebind();
    const at = performance.now();
    await edge.echo('after');
    took.push(performance.now() - at);
  }
  // The one in the middle, and three times as long: a machine may do much else.
  expect(took.sort((a, b) => a - b)[2]).toBeLessThan(1_500);
  expect(hub.acceptor.closed).toEqual([]);
});

type Rig = Awaited<ReturnType<typeof startQuic>>;

/** Sends 8 MB in each direction; calls `midway` when some of it is there, and says how long the rest took. */
async function transfer(hub: Rig, relay: UdpRelay, midway: () => Promise<void> | void): Promise<number[]> {
  const edge = await hub.connect('edge-1', { port: relay.port });
  await edge.echo('before');
  hub.acceptor.echo = false;
  const took: number[] = [];
  for (const way of ['toClient', 'toServer'] as const) {
    const from = relay[way].bytes;
    const message = createMessage(
      { source: 'edged', operation: 'update', resource: way },
      'x'.repeat(8_000_000),
      { now: Date.now() },
    );
    const [sender, received] =
      way === 'toClient'
        ? [hub.acceptor.connections[0]!, () => edge.messages]
        : [edge.link, () => hub.acceptor.received.map((one) => one.message)];
    sender.send(message).catch(() => {});
    await eventually('it is under way', () => relay[way].bytes > from + 1_000_000);
    expect(received().some(({ header }) => header.msg_id === message.header.msg_id)).toBe(false);
    await midway();
    const at = performance.now();
    await eventually('all of it is there', () =>
      received().some(({ header }) => header.msg_id === message.header.msg_id),
    );
    took.push(performance.now() - at);
  }
  expect(hub.acceptor.closed).toEqual([]);
  return took;
}

test('Q2: a transfer in either direction goes on within 3 s of a NAT rebinding', async () => {
  await using hub = await startQuic();
  await using relay = await UdpRelay.start({ targetPort: hub.port, delayMs: 10 });
  const took = await transfer(hub, relay, () => relay.rebind());
  // Three times the 3 s that are required, for a machine that does much else.
  for (const ms of took) expect(ms).toBeLessThan(9_000);
});

test('Q2: a transfer in either direction goes on when the path shrinks from 1500 bytes to 1300, over IPv6 too', async () => {
  await using hub = await startQuic();
  await using relay = await UdpRelay.start({ targetPort: hub.port, delayMs: 10 });
  await transfer(hub, relay, () => {
    relay.carries = 1300 - 40 - 8;
  });
});
