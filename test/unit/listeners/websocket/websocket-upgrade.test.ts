import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { closeReason } from '../../../../src/protocol/close-reasons.ts';
import { ManualClock } from '../../../fakes/manual-clock.ts';
import { upgradeRequest } from '../../../support/edges/raw-edge.ts';
import { clientOptions, readAll, tlsClient } from '../../../support/edges/tls-client.ts';
import type { EdgeSocketOptions } from '../../../support/edges/websocket-client.ts';
import { eventually } from '../../../support/eventually.ts';
import { ca, edge, hub } from '../../../support/pki/hub-and-edge.ts';
import { mintCa, mintEdge } from '../../../support/pki/pki.ts';
import { message, PROJECT, start, useWebSocketListeners } from './websocket-rig.ts';

useWebSocketListeners();

describe('before the upgrade', () => {
  test('takes path and headers as EdgeCore sends them, and no subprotocol', async () => {
    const { acceptor, join } = await start();
    const { socket } = await join({ headers: { 'User-Agent': 'sdk/1' } });
    expect(socket.protocol).toBe('');
    expect(socket.extensions).toBe('');
    expect(acceptor.accepted[0]!.connection).toMatchObject({
      transport: 'websocket',
      projectId: PROJECT,
      agent: 'sdk/1',
      remoteAddress: '127.0.0.1',
      peer: { nodeName: 'edge-1', legacy: false },
    });
  });

  const mismatches: [string, Partial<EdgeSocketOptions>][] = [
    ['another node in the header', { headers: { node_id: 'victim' } }],
    ['another node in the path', { path: `/${PROJECT}/victim/events` }],
    ['another node in both', { node: 'victim' }],
    ['the name in upper case', { headers: { node_id: 'EDGE-1' } }],
    ['two headers, the own first', { headers: { node_id: ['edge-1', 'victim'] } }],
    ['two headers, the own last', { headers: { node_id: ['victim', 'edge-1'] } }],
    ['two headers, the same twice', { headers: { node_id: ['edge-1', 'edge-1'] } }],
    ['a second header in other case', { headers: { Node_ID: 'victim' } }],
    ['a list', { headers: { node_id: 'edge-1,victim' } }],
    ['whitespace within', { headers: { node_id: 'edge-1 victim' } }],
    ['an empty header', { headers: { node_id: '' } }],
  ];
  test.each(mismatches)('G1: %s is 403 before the upgrade, with the reason', async (_, as) => {
    const { acceptor, attempt, metrics } = await start();
    const answer = await attempt(as);
    expect(answer).toMatchObject({ open: false, status: 403, reason: 'node-mismatch' });
    expect(answer.open ? '' : answer.body).toMatch(/^[^\n]+\n$/);
    expect(acceptor.accepted).toHaveLength(0);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="node-mismatch".*\} 1/);
  });

  test.each([
    '/',
    `/${PROJECT}/edge-1/events/`,
    `/${PROJECT}/edge-1/events?x=1`,
    `//${PROJECT}/edge-1/events`,
    `/${PROJECT}/%65dge-1/events`,
    `/${PROJECT}/x/edge-1/events`,
  ])('G1: the path %s is 404', async (path) => {
    const { attempt, acceptor } = await start();
    expect(await attempt({ path })).toMatchObject({ status: 404, reason: 'protocol' });
    expect(acceptor.accepted).toHaveLength(0);
  });

  test('a project_id that differs from the path is 400', async () => {
    const { attempt } = await start();
    expect(await attempt({ headers: { project_id: 'other' } })).toMatchObject({ status: 400 });
  });

  test('F3: an expired certificate is 401, and told and logged as "node X, expired D days ago"', async () => {
    const { attempt, log } = await start();
    const ago = (days: number) => new Date(Date.now() - days * 86_400_000 - 1_000);
    const old = await mintEdge(ca, 'edge-1', { notBefore: ago(9), notAfter: ago(2) });
    expect(await attempt({ edge: old })).toMatchObject({
      status: 401,
      reason: 'expired',
      body: expect.stringMatching(/^node edge-1, expired 2 days ago.*clock of this hub.*\n$/),
    });
    expect(log.lines.find(({ level }) => level === 'warn')?.fields).toMatchObject({
      reason: 'expired',
      node: 'edge-1',
    });
  });

  test('I14: a node with a stale CA that retries is one log line a minute, and a counter', async () => {
    const clock = new ManualClock();
    const { attempt, log, metrics } = await start({ clock });
    const stale = await mintEdge(await mintCa(), 'edge-1');
    for (let n = 0; n < 5; n++)
      expect(await attempt({ edge: stale })).toMatchObject({ reason: 'unknown-ca' });
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    await clock.advance(61_000);
    await attempt({ edge: stale });
    const warnings = log.lines.filter(({ level }) => level === 'warn');
    expect(warnings).toHaveLength(2);
    expect(warnings[1]!.fields.suppressed).toBe(4);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="unknown-ca".*\} 6/);
  });

  test('D6: with allowLegacy the header node_id is believed for certificates that name no node', async () => {
    const { join, acceptor } = await start({ allowLegacy: true });
    await join({ node: 'edge-5', edge: await mintEdge(ca, 'x', { subject: 'O=KubeEdge,CN=kubeedge.io' }) });
    expect(acceptor.accepted[0]!.connection.peer).toMatchObject({ nodeName: 'edge-5', legacy: true });
  });

  test('I11: who the hub does not admit is answered with status and Retry-After, and the socket closed', async () => {
    const { attempt, acceptor, metrics } = await start();
    acceptor.admission = {
      ok: false,
      status: 503,
      close: closeReason('TryAgainLater'),
      detail: 'the hub has reached its limit',
      retryAfterMs: 4_200,
    };
    expect(await attempt()).toEqual({
      open: false,
      status: 503,
      reason: 'TryAgainLater',
      retryAfter: '5',
      body: 'the hub has reached its limit\n',
    });
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
    expect(acceptor.accepted).toHaveLength(0);
  });

  test('G2: frames sent along with a refused upgrade reach nobody, and the socket is closed', async () => {
    const { port, acceptor } = await start();
    const socket = await tlsClient(clientOptions(port, ca, edge));
    const frame = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x7b, 0x7d]);
    socket.write(
      `GET /${PROJECT}/victim/events HTTP/1.1\r\nHost: x\r\nnode_id: victim\r\nConnection: Upgrade\r\n` +
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    for (let n = 0; n < 10; n++) socket.write(frame);
    const answer = await readAll(socket);
    expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(answer).toContain('Sallyport-Reason: node-mismatch\r\n');
    expect(acceptor.accepted).toHaveLength(0);
  });

  test('a refused peer that keeps its socket open is cut off after a second', async () => {
    const clock = new ManualClock();
    const { port, metrics } = await start({ clock });
    const socket = await tlsClient({ ...clientOptions(port, ca), allowHalfOpen: true } as never);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
    await once(socket, 'data');
    expect(await metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 1/);
    await clock.advance(2_000);
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
  });

  test('offers neither compression nor a subprotocol to who asks for them', async () => {
    const { port } = await start();
    const socket = await tlsClient(clientOptions(port, ca, edge));
    socket.write(
      `GET /${PROJECT}/edge-1/events HTTP/1.1\r\nHost: x\r\nnode_id: edge-1\r\nConnection: Upgrade\r\n` +
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n' +
        'Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n',
    );
    const [data] = (await once(socket, 'data')) as [Buffer];
    expect(data.toString()).toMatch(/^HTTP\/1\.1 101 /);
    expect(data.toString()).not.toMatch(/sec-websocket-(protocol|extensions)/i);
    socket.destroy();
  });

  test('a plain GET gets 426 in words, which is no rejection, and 401 without certificate', async () => {
    const { port, rejections, metrics } = await start();
    for (const [pair, status] of [
      [edge, '426 Upgrade Required'],
      [undefined, '401 Unauthorized'],
    ] as const) {
      const socket = await tlsClient(clientOptions(port, ca, pair));
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      const answer = await readAll(socket);
      expect(answer).toContain(`HTTP/1.1 ${status}\r\n`);
      expect(answer).toMatch(/\r\n\r\n[^\n]+\n$/);
    }
    await expect.poll(() => metrics.expose()).toMatch(/sallyport_connections\{transport="websocket"\} 0/);
    expect(rejections.list().map(({ reason }) => reason)).toEqual(['no-certificate']);
  });

  test('I2: what is no request, or one too many, gets one answer in words, is counted, and reaches nobody', async () => {
    const { port, metrics, acceptor } = await start();
    const good = `GET /${PROJECT}/edge-1/events HTTP/1.1\r\nHost: x\r\nnode_id: edge-1\r\n`;
    const upgrade =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
    for (const [sent, status] of [
      ['HELO hub\r\n', '400 Bad Request'],
      [`${good}${upgrade}Content-Length: 4\r\n\r\nGET `, '400 Bad Request'],
      [`${good}${upgrade}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, '400 Bad Request'],
      [`${good}${upgrade.replace('AA==', 'AA')}\r\n`, '400 Bad Request'],
      [`${good}${upgrade.replace('13', '8')}\r\n`, '426 Upgrade Required'],
      ['DELETE / HTTP/1.1\r\nHost: x\r\n\r\n', '405 Method Not Allowed'],
      [`${good}X: ${'a'.repeat(20_000)}\r\n\r\n`, '431 Request Header Fields Too Large'],
      [`${good}\r\n${good}${upgrade}\r\n`, '426 Upgrade Required'],
    ] as const) {
      const socket = await tlsClient(clientOptions(port, ca, edge));
      socket.write(sent);
      const answer = await readAll(socket);
      expect(answer.split('HTTP/1.1 ').slice(1), sent).toHaveLength(1);
      expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status}\r\n(.+\r\n)+\r\n[^\n]+\n$`));
    }
    expect(acceptor.accepted).toHaveLength(0);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="protocol".*\} 7/);
  });

  test('a client that sends the first bytes of its session along with the request loses none', async () => {
    const { port, acceptor } = await start();
    const socket = await tlsClient(clientOptions(port, ca, edge));
    const text = JSON.stringify(message());
    const frame = Buffer.concat([Buffer.from([0x81, 0xfe, 0, text.length, 0, 0, 0, 0]), Buffer.from(text)]);
    socket.write(Buffer.concat([Buffer.from(upgradeRequest('edge-1')), frame]));
    await eventually('the message', () => acceptor.accepted[0]?.messages.length === 1);
    socket.destroy();
  });

  test('I2: an upgrade that trickles in is ended by its deadline', async () => {
    const { port, metrics } = await start({ limits: { requestTimeoutMs: 500 } });
    const socket = await tlsClient(clientOptions(port, ca, edge));
    socket.write(`GET /${PROJECT}/edge-1/events HTTP/1.1\r\n`);
    const drip = setInterval(() => socket.write('a'), 50);
    expect(await readAll(socket)).toContain('408 Request Timeout');
    clearInterval(drip);
    expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="timeout".*\} 1/);
  });

  test('A10: at the most verbose level no log line holds a key or certificate', async () => {
    const { attempt, join, log } = await start();
    await join();
    await attempt({ edge: await mintEdge(await mintCa(), 'edge-1') });
    await attempt({ node: 'victim' });
    const text = JSON.stringify(log.lines);
    expect(text).not.toMatch(/BEGIN|PRIVATE/);
    expect(text).not.toContain(hub.key.split('\n')[1]);
  });
});
