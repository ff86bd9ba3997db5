import { createSecureServer } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import type { Listener } from '../../src/contracts/listener.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import { selfTest } from '../../src/selfcheck/self-test.ts';
import { captureLog } from '../support/capture-log.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
import { bundleOf, FixedSource } from '../support/pki/fixed-source.ts';
import { mintCa, mintServer } from '../support/pki/pki.ts';

test('a gateway knocks at each of its listeners as a stranger and is refused everywhere', async () => {
  const log = captureLog();
  await using hub = await startTestGateway({
    settings: { 'quic.enabled': 'true', 'webtransport.enabled': 'true' },
    log: log.log,
  });
  expect(hub.gateway.ready().quic).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(log.lines()).toContain('self-test passed');
  expect(log.lines()).not.toContain('could not reach');
});

test.each(['websocket', 'https', 'admin'] as const)(
  'a %s listener that lets a stranger in stops the start',
  async (name) => {
    const ca = await mintCa();
    const server = await mintServer(ca);
    const open = createServer({ cert: server.pem, key: server.key }, (_request, response) =>
      response.end('welcome'),
    );
    open.on('upgrade', (_request, socket) =>
      socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
    );
    await new Promise<void>((resolve) => open.listen(0, '127.0.0.1', resolve));
    const listener = {
      name,
      address: () => ({ host: '127.0.0.1', port: (open.address() as AddressInfo).port }),
    } as Listener;
    const source = new FixedSource(bundleOf({ ca, server }));
    await expect(
      selfTest({ source, clock: systemClock, log: silentLogger }, [listener]),
    ).rejects.toMatchObject({
      code: 'SELF_TEST_FAILED',
      details: { listener: name, probe: 'no certificate' },
    });
    open.close();
  },
);

test('a webtransport listener that lets a stranger in stops the start', async () => {
  const ca = await mintCa();
  const server = await mintServer(ca);
  const open = createSecureServer({
    cert: server.pem,
    key: server.key,
    settings: { enableConnectProtocol: true },
  });
  open.on('stream', (stream) => stream.respond({ ':status': 200 }));
  await new Promise<void>((resolve) => open.listen(0, '127.0.0.1', resolve));
  const listener = {
    name: 'webtransport',
    address: () => ({ host: '127.0.0.1', port: (open.address() as AddressInfo).port }),
  } as Listener;
  const source = new FixedSource(bundleOf({ ca, server }));
  await expect(selfTest({ source, clock: systemClock, log: silentLogger }, [listener])).rejects.toMatchObject(
    {
      code: 'SELF_TEST_FAILED',
      details: { listener: 'webtransport', probe: 'no certificate' },
    },
  );
  open.close();
});
