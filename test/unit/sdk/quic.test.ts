import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { closeReason } from '../../../src/protocol/close-reasons.ts';
import { createMessage, createResponse } from '../../../src/protocol/message.ts';
import { importQuicLibrary } from '../../../src/protocol/quic-library.ts';
import { CredentialStore } from '../../../src/sdk/credential-store.ts';
import { EdgeClient } from '../../../src/sdk/edge-client.ts';
import { AutoTransport } from '../../../src/sdk/transports/auto-transport.ts';
import { QuicTransport } from '../../../src/sdk/transports/quic-transport.ts';
import type { EdgeTransport } from '../../../src/sdk/transports/transport.ts';
import { WebSocketTransport } from '../../../src/sdk/transports/websocket-transport.ts';
import { MiniHub } from '../../support/edges/mini-hub.ts';
import { startQuic } from '../../support/edges/quic-rig.ts';
import { eventuallyHolds } from '../../support/eventually.ts';
import { mintCa, mintEdge, type Pair } from '../../support/pki/pki.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { next } from './edge-fixture.ts';

async function clientOf(ca: Pair, hub: { websocket?: string; quic?: string }, transport?: EdgeTransport) {
  const directory = temporaryFolder();
  const pair = await mintEdge(ca, 'edge-1');
  const credentials = { node: 'edge-1', ca: ca.pem, certificate: pair.pem, key: pair.key };
  const client = new EdgeClient(
    { credentials, store: new CredentialStore(directory), ...(transport ? { transport } : {}) },
    {
      hub: { https: '127.0.0.1:1', ...hub },
      node: 'edge-1',
      directory,
      reconnect: { minMs: 5, maxMs: 20 },
    },
  );
  return { client, [Symbol.asyncDispose]: () => client.close() };
}

test('Q5: where QUIC alone is wanted and its library is missing, the client says so with the command, and does not try again', async () => {
  const ca = await mintCa();
  let attempts = 0;
  const missing: EdgeTransport = {
    name: 'quic',
    connect: async () => {
      attempts++;
      const absent = Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' });
      await importQuicLibrary(() => Promise.reject(absent));
      throw new Error('it was found');
    },
  };
  await using edge = await clientOf(ca, { quic: '127.0.0.1:1' }, missing);
  const gone = next(edge.client, 'disconnected');
  await expect(edge.client.connect()).rejects.toMatchObject({
    code: 'QUIC_LIBRARY_MISSING',
    fix: expect.stringContaining('npm install @currentspace/http3'),
  });
  expect(await gone).toMatchObject({ final: { code: 'QUIC_LIBRARY_MISSING' } });
  expect(attempts).toBe(1);
});

test('J2: over QUIC: acknowledged both ways, and what was not acknowledged is sent again after the reconnect', async () => {
  await using hub = await startQuic();
  hub.acceptor.echo = false;
  await using edge = await clientOf(hub.ca, { quic: `127.0.0.1:${hub.port}` });
  const { client } = edge;
  const data = () =>
    hub.acceptor.received.map(({ message }) => message).filter(({ route }) => route.operation === 'update');
  const up = next(client, 'connected');
  await client.connect();
  expect((await up).transport).toBe('quic');

  const sent = client.send({ resource: 'a/b', operation: 'update', content: 1 });
  await eventuallyHolds(() => expect(data()).toHaveLength(1));
  const back = next(client, 'connected');
  hub.acceptor.connections[0]!.close(closeReason('Rebalance', 1));
  await back;
  await eventuallyHolds(() => expect(data()).toHaveLength(2));
  expect(data()[1]).toEqual(data()[0]);
  const connection = hub.acceptor.connections[0]!;
  await connection.send(createResponse(data()[1]!, 'OK', { now: Date.now() }));
  await sent;

  client.on('message', () => {});
  const down = createMessage({ operation: 'insert', resource: 'a/c' }, { x: 1 }, { now: Date.now() });
  await connection.send(down);
  await eventuallyHolds(() =>
    expect(hub.acceptor.received.at(-1)!.message).toMatchObject({
      header: { parent_msg_id: down.header.msg_id },
      content: 'OK',
    }),
  );
});

test('a hub that says never over QUIC is obeyed', async () => {
  await using hub = await startQuic();
  await using edge = await clientOf(hub.ca, { quic: `127.0.0.1:${hub.port}` });
  await edge.client.connect();
  const down = next(edge.client, 'disconnected');
  hub.acceptor.connections[0]!.close(closeReason('Revoked'));
  expect(await down).toMatchObject({ reason: { name: 'Revoked' }, final: { code: 'SHUT_OUT' } });
});

test('where UDP is swallowed that once got through, auto falls back to WebSocket', async () => {
  await using hub = await MiniHub.start();
  const swallows = createSocket('udp4').bind(0, '127.0.0.1');
  await once(swallows, 'listening');
  try {
    const components = { clock: systemClock, logger: silentLogger };
    const transport = new AutoTransport(
      {
        ...components,
        memory: { has: async () => true, add: async () => {}, delete: async () => {} },
        candidates: [
          new QuicTransport(components, { address: `127.0.0.1:${swallows.address().port}` }),
          new WebSocketTransport(components, { address: hub.address }),
        ],
      },
      { probeTimeoutMs: 200 },
    );
    await using edge = await clientOf(hub.ca, {}, transport);
    const up = next(edge.client, 'connected');
    await edge.client.connect();
    expect((await up).transport).toBe('websocket');
    await edge.client.send({ resource: 'a', operation: 'update', content: 1 });
    expect(hub.contents).toEqual([1]);
  } finally {
    swallows.close();
  }
});
