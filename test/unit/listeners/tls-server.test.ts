import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { DEFAULT_TLS_GROUPS } from '../../../src/core/tls-groups.ts';
import { TlsServer } from '../../../src/listeners/tls-server.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { capturedLog } from '../../support/captured-log.ts';
import { clientOptions, readAll, tcpClient, tlsClient } from '../../support/edges/tls-client.ts';
import { eventually } from '../../support/eventually.ts';
import { bundleOf } from '../../support/pki/fixed-source.ts';
import { ca, edge, hub } from '../../support/pki/hub-and-edge.ts';
import { mintCa, mintServer, type Pair } from '../../support/pki/pki.ts';
import { mintRsaServer } from '../../support/pki/rsa.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { get, LIMITS, start, useTlsServers } from './tls-fixture.ts';

useTlsServers();

test('serves a client with and without certificate and shows what it presented', async () => {
  const { port } = await start();
  expect(await get(await tlsClient(clientOptions(port, ca, edge)))).toContain(
    'CN=system:node:edge-1 from 127.0.0.1',
  );
  expect(await get(await tlsClient(clientOptions(port, ca)))).toContain('nobody from 127.0.0.1');
});

test('swaps the certificate under open connections, and keeps the old one when the new is bad', async () => {
  const { server, port, source } = await start();
  const open = await tlsClient(clientOptions(port, ca));
  const next = await mintServer(ca);
  server.applyBundle(bundleOf({ ca, server: next }));
  expect(server.servedFingerprint()).not.toBe(source.current().fingerprint);
  const fresh = await tlsClient(clientOptions(port, ca));
  expect(fresh.getPeerX509Certificate()?.serialNumber).toBe(next.certificate.serialNumber);
  fresh.destroy();

  const before = server.servedFingerprint();
  const bad = bundleOf({ ca, server: { ...hub, key: next.key } });
  expect(() => server.applyBundle(bad)).toThrow();
  expect(() => server.applyBundle(bundleOf({ ca, server: { ...hub, pem: 'x' } }))).toThrow();
  expect(server.servedFingerprint()).toBe(before);
  const after = await tlsClient(clientOptions(port, ca));
  expect(after.getPeerX509Certificate()?.serialNumber).toBe(next.certificate.serialNumber);
  after.destroy();
  expect(await get(open)).toContain('nobody');
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)(
  '%s: no session is resumed, by ticket or by id',
  async (version) => {
    const { port } = await start();
    const options = { ...clientOptions(port, ca, edge), minVersion: version, maxVersion: version };
    const first = await tlsClient(options);
    const sessions: Buffer[] = [];
    first.on('session', (session) => sessions.push(session));
    await get(first);
    const session = first.getSession() ?? sessions.at(-1);
    // With 1.2 the hub gives no session id at all; with 1.3 there are sessions to try.
    expect(session === undefined).toBe(version === 'TLSv1.2');
    expect(first.getTLSTicket() ?? undefined).toBeUndefined();
    for (const one of [session, ...sessions]) {
      if (!one) continue;
      const second = await tlsClient({ ...options, session: one });
      expect(second.isSessionReused()).toBe(false);
      expect(await get(second)).toContain('edge-1');
    }
  },
);

test('L4: only TLS 1.2 and 1.3 with AEAD suites are spoken', async () => {
  const { port } = await start();
  const attempt = (options: object) => tlsClient({ ...clientOptions(port, ca), ...options });
  await expect(
    attempt({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' }),
  ).rejects.toThrow();
  await expect(attempt({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' })).rejects.toThrow();
  await expect(attempt({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' })).rejects.toThrow();
  for (const suite of ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-CHACHA20-POLY1305']) {
    const socket = await attempt({ maxVersion: 'TLSv1.2', ciphers: suite });
    expect(socket.getCipher().name).toBe(suite);
    socket.destroy();
  }
});

// In TLS 1.2 the group of an EC certificate has to be among the client's too (RFC 8422 §5.1), so there P-256
// is never missing.
test.each([
  ['X25519', 'TLSv1.3'],
  ['P-256', 'TLSv1.3'],
  ['P-384', 'TLSv1.3'],
  ['P-256', 'TLSv1.2'],
] as const)('a client that knows only the group %s connects with %s', async (ecdhCurve, maxVersion) => {
  const { port } = await start();
  const socket = await tlsClient({ ...clientOptions(port, ca, edge), ecdhCurve, maxVersion });
  expect(await get(socket)).toContain('edge-1');
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)(
  'L4: an RSA hub certificate serves %s, and swaps with an EC one',
  async (version) => {
    const { server, port } = await start();
    const rsa = await mintRsaServer(ca);
    server.applyBundle(bundleOf({ ca, server: rsa }));
    const options = { ...clientOptions(port, ca, edge), minVersion: version, maxVersion: version };
    const socket = await tlsClient(options);
    expect(socket.authorized).toBe(true);
    expect(socket.getPeerX509Certificate()?.publicKey.asymmetricKeyType).toBe('rsa');
    expect(await get(socket)).toContain('edge-1');
    server.applyBundle(bundleOf({ ca, server: hub }));
    const back = await tlsClient(options);
    expect(back.getPeerX509Certificate()?.publicKey.asymmetricKeyType).toBe('ec');
    back.destroy();
  },
);

test('openssl as client with only P-256 connects in both versions', async () => {
  const { port } = await start();
  for (const version of ['-tls1_2', '-tls1_3']) {
    const run = promisify(execFile)('openssl', [
      's_client',
      '-connect',
      `127.0.0.1:${port}`,
      version,
      '-groups',
      'P-256',
      '-brief',
    ]);
    run.child.stdin?.end('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const { stderr } = await run;
    expect(stderr).toContain('CONNECTION ESTABLISHED');
  }
});

test('L4: tls.ciphers takes AEAD suites only', async () => {
  const tls = {
    minVersion: 'TLSv1.2',
    groups: DEFAULT_TLS_GROUPS,
    ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  } as const;
  const { port } = await start({}, { tls });
  const socket = await tlsClient({ ...clientOptions(port, ca), maxVersion: 'TLSv1.2' });
  expect(socket.getCipher().name).toBe('ECDHE-ECDSA-AES256-GCM-SHA384');
  socket.destroy();
  for (const ciphers of ['ALL', 'ECDHE-RSA-AES128-SHA', 'ECDHE-RSA-AES128-GCM-SHA256:!aNULL'])
    await expect(
      start({}, { tls: { minVersion: 'TLSv1.2', groups: DEFAULT_TLS_GROUPS, ciphers } }),
    ).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
});

test('I2: a request that trickles in after the handshake is ended by its deadline, a good client is served', async () => {
  const { port } = await start({ requestTimeoutMs: 600 });
  const slow = await tlsClient(clientOptions(port, ca, edge));
  const begin = Date.now();
  slow.write('GET / HTTP/1.1\r\n');
  const drip = setInterval(() => slow.write('a'), 50);
  const silent = readAll(await tlsClient(clientOptions(port, ca, edge)));
  expect(await get(await tlsClient(clientOptions(port, ca, edge)))).toContain('edge-1');
  expect(await readAll(slow)).toContain('408');
  clearInterval(drip);
  await silent;
  expect(Date.now() - begin).toBeLessThan(3_000);
});

test('B3: a client that refuses the hub certificate is logged once a minute with address, SNI, names and the likely fix', async () => {
  const { port, log, metrics } = await start();
  const other = await mintCa({ subject: 'CN=other' });
  for (let n = 0; n < 3; n++) {
    // OpenSSL sends the alert that Node's client does not.
    const exitCode = await opensslRefusing(port, other);
    expect(exitCode).not.toBe(0);
  }
  const counted = /handshake_failures_total\{.*reason="client-unknown-ca".*\} 3/;
  await eventually('a warning', () => log.lines.some(({ level }) => level === 'warn'));
  await expect.poll(() => metrics.expose()).toMatch(counted);
  const lines = log.lines.filter(({ level }) => level === 'warn');
  expect(lines).toHaveLength(1);
  expect(lines[0]!.fields).toMatchObject({
    remoteAddress: '127.0.0.1',
    sni: 'hub.example',
    servedNames: expect.arrayContaining(['localhost']),
    reason: 'client-unknown-ca',
    fix: expect.stringContaining('join again'),
  });
});

async function opensslRefusing(port: number, trusted: Pair): Promise<number | null> {
  const file = join(temporaryFolder(), 'ca.pem');
  await writeFile(file, trusted.pem);
  const arguments_ = ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', 'hub.example'];
  const child = spawn('openssl', [...arguments_, '-CAfile', file, '-verify_return_error'], {
    stdio: 'ignore',
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code;
}

test.each([
  { what: 'nothing', said: '', remembered: ['edge-1'] },
  { what: 'a request', said: 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', remembered: [] },
  { what: 'half of a request', said: 'GET / HTTP/1.1\r\nHo', remembered: [] },
  { what: 'what is no request', said: '\0\r\n\r\n', remembered: [] },
])(
  'L2: a node that leaves after its handshake is remembered, unless it said something: $what',
  async ({ said, remembered }) => {
    const { server, port, rejections } = await start();
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await tlsClient({ ...clientOptions(port, ca, edge), maxVersion });
      socket.resume().end(said);
      await eventually('the node has left', () => server.size === 0);
    }
    expect(rejections.list().map(({ claimedNode }) => claimedNode)).toEqual(remembered);
  },
);

test('H2: probes that connect and close log nothing above debug and count as no failure', async () => {
  const { server, port, log, metrics } = await start();
  for (let n = 0; n < 5; n++) {
    const probe = await tcpClient(port);
    if (n % 2) probe.resetAndDestroy();
    else probe.end();
  }
  await eventually('probes gone', () => server.size === 0);
  await get(await tlsClient(clientOptions(port, ca)));
  await eventually('probe gone', () => server.size === 0);
  expect(log.lines.filter(({ level }) => level !== 'debug' && level !== 'trace')).toEqual([]);
  expect(await metrics.expose()).not.toMatch(/handshake_failures_total\{/);
});

test('plain HTTP and garbage are counted by reason and harm nobody', async () => {
  const { port, metrics } = await start();
  for (const data of ['GET / HTTP/1.1\r\n\r\n', '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0']) {
    const socket = await tcpClient(port);
    socket.write(data);
    await readAll(socket);
  }
  const exposed = await metrics.expose();
  expect(exposed).toMatch(/handshake_failures_total\{.*reason="plain-http".*\} 1/);
  expect(exposed).toMatch(/handshake_failures_total\{.*reason="(protocol|no-common-tls)".*\} 1/);
  expect(await get(await tlsClient(clientOptions(port, ca)))).toContain('nobody');
});

test('stops twice, refuses new sockets, ends silent ones, and lets a session that was handed over be', async () => {
  const clock = new ManualClock();
  const { server, port } = await start({}, { clock });
  const sessions: TLSSocket[] = [];
  server.server.on('secureConnection', (socket) => sessions.push(socket));
  const kept = await tlsClient(clientOptions(port, ca, edge));
  await eventually('a session', () => sessions.length === 1);
  server.handOver(sessions[0]!);
  const silent = readAll(await tcpClient(port));
  await eventually('two sockets', () => server.size === 2);
  const signal = new AbortController().signal;
  await Promise.all([server.stop(signal), server.stop(signal)]);
  await silent;
  expect(server.size).toBe(1);
  expect(kept.destroyed).toBe(false);
  expect(clock.pending).toBe(0);
  const refused = await tcpClient(port).then(readAll, () => 'refused');
  expect(['', 'refused']).toContain(refused);
  kept.destroy();
});

test('stop lets a request finish and ends a TLS connection without one at once', async () => {
  const release = Promise.withResolvers<void>();
  let asked = 0;
  const onRequest: RequestListener = (_request, response) => {
    asked++;
    void release.promise.then(() => response.end('done'));
  };
  const { server, port } = await start({}, { onRequest });
  const reply = get(await tlsClient(clientOptions(port, ca, edge)));
  const idle = await tlsClient(clientOptions(port, ca, edge));
  await eventually('a request under way', () => asked === 1 && server.size === 2);
  const stopped = server.stop(new AbortController().signal);
  await readAll(idle);
  expect(server.size).toBe(1);
  release.resolve();
  expect(await reply).toContain('done');
  await stopped;
});

test('a port in use is LISTEN_FAILED and names listener and address', async () => {
  const { port, source } = await start();
  const second = new TlsServer(
    { source, clock: systemClock, log: capturedLog(), metrics: createMetrics({ process: false }) },
    () => ({
      name: 'websocket',
      host: '127.0.0.1',
      port,
      tls: { minVersion: 'TLSv1.2', groups: DEFAULT_TLS_GROUPS },
      limits: LIMITS,
    }),
  );
  await expect(second.start()).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    details: { listener: 'websocket', address: `127.0.0.1:${port}` },
  });
});
