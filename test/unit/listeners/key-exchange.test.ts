import { execFile } from 'node:child_process';
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { DEFAULT_TLS_GROUPS } from '../../../src/core/tls-groups.ts';
import { keyExchange } from '../../../src/listeners/key-exchange.ts';
import { clientOptions, tlsClient } from '../../support/edges/tls-client.ts';
import { ca, edge } from '../../support/pki/hub-and-edge.ts';
import { get, start, useTlsServers } from './tls-fixture.ts';

useTlsServers();

/** A server with these groups, that answers which one it sees. */
async function serving(groups = DEFAULT_TLS_GROUPS) {
  return start(
    {},
    {
      tls: { minVersion: 'TLSv1.2', groups },
      onRequest: (request, response) => {
        const seen = keyExchange(request.socket as TLSSocket);
        response.end(`${seen?.group} ${seen?.postQuantum ? 'post-quantum' : 'classical'}`);
      },
    },
  );
}

const answerTo = async (socket: TLSSocket) => (await get(socket)).split('\r\n\r\n')[1];

/** In Node's words for the client, which has other names for P-256 and P-384. */
const NAMES: Readonly<Record<string, string>> = {
  prime256v1: 'P-256',
  secp384r1: 'P-384',
  secp521r1: 'P-521',
};

test.each([
  ['X25519MLKEM768', 'post-quantum'],
  ['SecP256r1MLKEM768', 'post-quantum'],
  ['SecP384r1MLKEM1024', 'post-quantum'],
  ['MLKEM768', 'post-quantum'],
  ['MLKEM1024', 'post-quantum'],
  ['X25519', 'classical'],
  ['X448', 'classical'],
  ['P-256', 'classical'],
  ['P-384', 'classical'],
  ['P-521', 'classical'],
])('L6: a server knows that the handshake agreed on %s', async (group, kind) => {
  const { port } = await serving(group);
  const socket = await tlsClient({ ...clientOptions(port, ca, edge), ecdhCurve: group });
  const { name } = socket.getEphemeralKeyInfo() as { name: string };
  expect(NAMES[name] ?? name).toBe(group);
  expect(await answerTo(socket)).toBe(`${group} ${kind}`);
});

// In TLS 1.2 the group of the certificate has to be among the client's (RFC 8422 §5.1): P-256 here.
test.each([
  ['X25519:P-256', 'X25519'],
  ['P-256', 'P-256'],
  ['P-384:P-256', 'P-256'],
  [DEFAULT_TLS_GROUPS, 'X25519'],
])('L6: with TLS 1.2 a client that knows %s gets %s', async (ecdhCurve, group) => {
  const { port } = await serving();
  const socket = await tlsClient({ ...clientOptions(port, ca, edge), ecdhCurve, maxVersion: 'TLSv1.2' });
  expect(socket.getProtocol()).toBe('TLSv1.2');
  expect(await answerTo(socket)).toBe(`${group} classical`);
});

test('L6: by default a client of Node agrees with the hub on a post-quantum group', async () => {
  const { port } = await serving();
  expect(await answerTo(await tlsClient(clientOptions(port, ca, edge)))).toBe('X25519MLKEM768 post-quantum');
});

test('L6: the group is that of the second ClientHello when the first had no share of a common one', async () => {
  const { port } = await serving();
  const socket = await tlsClient({ ...clientOptions(port, ca, edge), ecdhCurve: 'P-521:P-384' });
  expect(await answerTo(socket)).toBe('P-384 classical');
});

test.each(['X25519', 'P-256', 'P-384'])('L6: openssl as client with only %s is let in', async (group) => {
  const { port } = await serving();
  const run = promisify(execFile)('openssl', [
    's_client',
    '-connect',
    `127.0.0.1:${port}`,
    '-groups',
    group,
    '-quiet',
  ]);
  run.child.stdin?.end('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  expect((await run).stdout).toContain(`${group} classical`);
});

test('L6: a hub that takes only post-quantum groups refuses a client without one, and says what is missing', async () => {
  const { port, server, metrics } = await serving('X25519MLKEM768');
  const failed = once(server.server, 'tlsClientError');
  await expect(tlsClient({ ...clientOptions(port, ca, edge), ecdhCurve: 'X25519:P-256' })).rejects.toThrow();
  await failed;
  expect(await metrics.expose()).toContain('reason="no-common-tls"} 1');
});
