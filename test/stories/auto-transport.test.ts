import { expect, test } from 'vitest';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import type { EdgeClientOptions } from '../../src/sdk/edge-client-options.ts';
import { UdpRelay } from '../support/edges/udp-relay.ts';
import { eventually } from '../support/eventually.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

/** Runs the program of a node until it is connected, and `until` holds. */
async function run(options: EdgeClientOptions, until: (transports: readonly string[]) => boolean) {
  await using client = await EdgeClient.open(options);
  const transports: string[] = [];
  const dropped: unknown[] = [];
  client.on('connected', ({ transport }) => void transports.push(transport));
  client.on('disconnected', ({ final }) => void (final || dropped.push(final)));
  await client.connect();
  await client.send({ resource: 'app/first', operation: 'update', content: 1 });
  await eventually('it is where it should be', () => until(transports));
  await client.send({ resource: 'app/second', operation: 'update', content: 2 });
  return { transports, dropped: dropped.length };
}

test('auto begins over WebSocket, moves to QUIC when it gets through, begins there after a restart, and forgets it where it fails', async () => {
  await using hub = await startTestGateway({ settings: { 'quic.enabled': 'true' } });
  await using relay = await UdpRelay.start({ targetPort: hub.port('quic') });
  const { hub: addresses, ...base } = hub.edgeOptions('edge-1', { heartbeatMs: 3_000 });
  const options = {
    ...base,
    transport: 'auto',
    hub: { ...addresses, quic: `127.0.0.1:${relay.port}` },
  } as const;
  await (await EdgeClient.join({ ...options, token: await hub.nodeToken('edge-1') })).close();

  expect(await run(options, (used) => used.length === 2)).toEqual({
    transports: ['websocket', 'quic'],
    dropped: 0,
  });
  expect(await run(options, (used) => used.length === 1)).toEqual({ transports: ['quic'], dropped: 0 });

  relay.isDeaf = true;
  expect((await run(options, (used) => used.length === 1)).transports).toEqual(['websocket']);
  const before = relay.toServer.datagrams;
  relay.isDeaf = false;
  // Nobody waits for QUIC any more.
  expect((await run({ ...options, heartbeatMs: 60_000 }, () => true)).transports).toEqual(['websocket']);
  expect(relay.toServer.datagrams).toBe(before);
});
