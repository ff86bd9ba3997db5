import { expect, test } from 'vitest';
import { startQuic } from '../../../support/edges/quic-rig.ts';

test('an edge with a trusted certificate says hello, is welcomed, and messages flow both ways', async () => {
  await using hub = await startQuic();
  const edge = await hub.connect('edge-1');
  const reply = await edge.echo({ hello: 'hub' }, 'default/podstatus/p-1');
  expect(reply.content).toEqual({ hello: 'hub' });
  expect(hub.acceptor.received[0]!.node).toBe('edge-1');
  const [connection] = hub.acceptor.connections;
  expect(connection!.remoteAddress).toBe('127.0.0.1');
  expect(connection!.projectId).toBe('p');
  expect(connection!.agent).toBe('test/1');
  expect(connection!.stats()).toMatchObject({ bytesBuffered: 0, rttMs: expect.any(Number) });
});
