import { createSecureServer } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { expect, test } from 'vitest';
import type { KnockRequest } from '../../src/contracts/handshake.ts';
import type { Listener } from '../../src/contracts/listener.ts';
import type { RejectionListing } from '../../src/contracts/rejections.ts';
import { askHttps } from '../../src/core/ask-https.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLogger } from '../../src/core/log.ts';
import type { NodeIdentity } from '../../src/identity/node-identity.ts';
import { knockQuic } from '../../src/listeners/quic/quic-knock.ts';
import { knockWebSocket } from '../../src/listeners/websocket/websocket-knock.ts';
import { knockWebTransport } from '../../src/listeners/webtransport/webtransport-knock.ts';
import { selfTest } from '../../src/selfcheck/self-test.ts';
import { captureLog } from '../support/capture-log.ts';
import { startQuic } from '../support/edges/quic-rig.ts';
import { sallyport } from '../support/fleets/process.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';
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

test('L5: what the gateway and the doctor check leaves no rejection, no failed handshake and no warning; a stranger does', async () => {
  const { log, records } = captureLog();
  log.level = 'info';
  await using hub = await startTestGateway({
    settings: { 'quic.enabled': 'true', 'webtransport.enabled': 'true', 'limits.connections': '100' },
    log,
  });
  const traces = async () => ({
    rejected: (await hub.admin.get<RejectionListing>('/api/v1/rejections')).items,
    counted: (await hub.admin.text('/metrics')).text.match(
      /^sallyport_((handshake_failures|enrolment_refused)_total|http_requests_total\{.*edge.crt)\S* [1-9].*$/gm,
    ),
    told: records().filter(({ level, msg }) => level !== 'info' || /refused/.test(String(msg))),
  });
  const none = { rejected: [], counted: null, told: [] };
  expect(await traces()).toEqual(none);
  // Every listener is tried before the swap, and looked at after it.
  await hub.admin.post('/api/v1/certificates/hub/rotate');
  await hub.admin.get('/api/v1/certificates/served');
  const { stdout } = await sallyport([
    ...['doctor', '--admin', `localhost:${hub.port('admin')}`],
    ...['--set', `secretStore.path=${hub.folder}`],
  ]);
  for (const name of ['https', 'websocket', 'quic', 'webtransport', 'admin'])
    expect(stdout).toMatch(new RegExp(`√ ${name} at \\S+ serves`));
  expect(await traces()).toEqual(none);

  await knockQuic({ host: '127.0.0.1', port: hub.port('quic'), ...stranger });
  const seen = await traces();
  expect(seen.rejected).toMatchObject([{ listener: 'quic', reason: 'no-certificate', count: 1 }]);
  expect(seen.counted).toEqual([expect.stringContaining('transport="quic",reason="no-certificate"')]);
});

const openServers = {
  'HTTPS server': {
    knock: (request: KnockRequest) => askHttps(request, { path: '/edge.crt' }),
    serve: () => openHttps(),
  },
  'WebSocket server': { knock: knockWebSocket, serve: () => openHttps() },
  'WebTransport server': { knock: knockWebTransport, serve: () => openHttp2() },
  'QUIC listener': { knock: knockQuic, serve: () => openQuic() },
};

test.each(Object.entries(openServers))('a stranger finds that it is let in by a %s', async (_, kind) => {
  await using server = await kind.serve();
  const knocking = kind.knock({ host: '127.0.0.1', port: server.port, ...stranger });
  expect(await knocking).toBeLessThan(400);
});

test('a listener that lets a stranger in stops the start; one that cannot be reached does not', async () => {
  const listener = {
    name: 'websocket',
    address: () => ({ host: '0.0.0.0', port: 1 }),
  } as Listener;
  const knocked: KnockRequest[] = [];
  const start = (knock: () => Promise<number>) =>
    selfTest({ clock: systemClock, log: silentLogger }, [
      {
        ...listener,
        knock: (request) => {
          knocked.push(request);
          return knock();
        },
      },
    ]);
  await start(() => Promise.reject(new Error('nobody is there')));
  await start(() => Promise.resolve(503));
  await start(() => Promise.resolve(401));
  expect(knocked.map(({ host, client }) => [host, client !== undefined]).slice(0, 2)).toEqual([
    ['127.0.0.1', false],
    ['127.0.0.1', true],
  ]);
  await expect(start(() => Promise.resolve(101))).rejects.toMatchObject({
    code: 'SELF_TEST_FAILED',
    details: { listener: 'websocket', probe: 'no certificate' },
  });
});

const stranger = { node: 'edge-1', csr: new Uint8Array(), timeoutMs: 5_000 };

async function openHttps() {
  const server = await mintServer(await mintCa());
  const open = createServer({ cert: server.pem, key: server.key }, (_request, response) =>
    response.end('welcome'),
  );
  open.on('upgrade', (_request, socket) =>
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
  );
  return listening(open);
}

async function openHttp2() {
  const server = await mintServer(await mintCa());
  const open = createSecureServer({
    cert: server.pem,
    key: server.key,
    settings: { enableConnectProtocol: true },
  });
  open.on('stream', (stream) => stream.respond({ ':status': 200 }));
  return listening(open);
}

async function listening(server: Server) {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}

/** The real listener, with a gate that lets everybody in. */
async function openQuic() {
  const identity = { nodeName: stranger.node } as NodeIdentity;
  return startQuic({}, { gate: { check: () => ({ ok: true, identity }) } });
}
