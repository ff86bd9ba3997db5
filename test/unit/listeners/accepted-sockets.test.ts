import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { expect, test } from 'vitest';
import { DescriptorBudget } from '../../../src/listeners/descriptor-budget.ts';
import { ManualClock, settle } from '../../fakes/manual-clock.ts';
import { helloAlone } from '../../support/edges/raw-edge.ts';
import { clientOptions, readAll, tcpClient, tlsClient } from '../../support/edges/tls-client.ts';
import { eventually } from '../../support/eventually.ts';
import { ca, edge } from '../../support/pki/hub-and-edge.ts';
import { get, start, useTlsServers } from './tls-fixture.ts';

useTlsServers();

test('I3: caps in all and per address hold at accept, are counted, and places are given back', async () => {
  const { server, port, metrics, live } = await start({ connections: 3 });
  const speak = () => tlsClient(clientOptions(port, ca));
  const open = [await speak(), await speak(), await speak()];
  await eventually('three sockets', () => server.size === 3);
  await tcpClient(port).then(readAll, () => 'reset');
  expect(server.size).toBe(3);
  live.connections = 100;
  live.connectionsPerIp = 3;
  await tcpClient(port).then(readAll, () => 'reset');
  expect(await metrics.expose()).toMatch(/connections_refused_total\{.*limit="connections-per-ip".*\} 1/);
  expect(await metrics.expose()).toMatch(/connections_refused_total\{.*limit="connections".*\} 1/);
  open[0]!.destroy();
  await eventually('two sockets', () => server.size === 2);
  expect(await get(await tlsClient(clientOptions(port, ca)))).toContain('nobody');
  for (const socket of open) socket.destroy();
  await eventually('no socket', () => server.size === 0);
  expect(await metrics.expose()).toMatch(/sallyport_connections\{transport="https"\} 0/);
});

test('I1: handshakes beyond the cap wait for a place, which nobody keeps for more than a second', async () => {
  const clock = new ManualClock();
  const { server, port } = await start({ handshakes: 2 }, { clock });
  const slow = [await helloAlone(port), await helloAlone(port)];
  await Promise.all(slow.map((socket) => once(socket, 'data')));
  const waiting = tlsConnect(clientOptions(port, ca, edge));
  waiting.on('error', () => {});
  await eventually('a third socket', () => server.size === 3);
  await clock.advance(900);
  await settle();
  expect(waiting.getPeerX509Certificate()).toBeUndefined();
  await clock.advance(250);
  expect(await get(waiting)).toContain('edge-1');
  expect(server.size).toBeGreaterThanOrEqual(2);
});

test('N1: silent sockets take no place among the handshakes', async () => {
  const { server, port } = await start({ handshakes: 2, connections: 1000, connectionsPerIp: 1000 });
  await Promise.all(Array.from({ length: 100 }, () => tcpClient(port)));
  await eventually('the silent ones', () => server.size === 100);
  expect(await get(await tlsClient(clientOptions(port, ca, edge)))).toContain('edge-1');
});

test('N1: addresses take turns at the places, however often one of them asks', async () => {
  const clock = new ManualClock();
  const { server, port } = await start(
    { handshakes: 1, connections: 1000, connectionsPerIp: 1000 },
    { clock },
  );
  const crowd = await Promise.all(Array.from({ length: 20 }, () => helloAlone(port, '127.0.0.2')));
  await eventually('the crowd', () => server.size === 20);
  await Promise.race(crowd.map((socket) => once(socket, 'data')));
  const node = tlsConnect(clientOptions(port, ca, edge));
  node.on('error', () => {});
  await eventually('the node', () => server.size === 21);
  // Its hello is behind those of the crowd, and has to arrive.
  await eventually('the sweep', () => clock.pending > 0);
  await settle(50);
  for (let turn = 0; turn < 2; turn++) await clock.advance(1_250);
  expect(await get(node)).toContain('edge-1');
});

test('N1: at a limit the socket that has been silent longest gives way to a newcomer', async () => {
  const { server, port, metrics, live } = await start({ connections: 3, connectionsPerIp: 1000 });
  const silent = [await tcpClient(port), await tcpClient(port), await tcpClient(port)];
  await eventually('three silent sockets', () => server.size === 3);
  expect(await get(await tlsClient(clientOptions(port, ca, edge)))).toContain('edge-1');
  await readAll(silent[0]!);
  live.connections = 1000;
  live.connectionsPerIp = 2;
  expect(await get(await tlsClient(clientOptions(port, ca, edge)))).toContain('edge-1');
  await readAll(silent[1]!);
  expect(await metrics.expose()).toMatch(/connections_refused_total\{.*limit="connections-per-ip".*\} [1-9]/);
});

test('N6: what the other listeners and the store need is left to them', async () => {
  const share = new DescriptorBudget(10).share({ leaving: 8 });
  const { server, port, metrics } = await start({}, { descriptors: share });
  const open = [await tlsClient(clientOptions(port, ca)), await tlsClient(clientOptions(port, ca))];
  await eventually('two sockets', () => server.size === 2);
  await tcpClient(port).then(readAll, () => 'reset');
  expect(await metrics.expose()).toMatch(/connections_refused_total\{.*limit="descriptors".*\} 1/);
  open[0]!.destroy();
  await eventually('one socket', () => server.size === 1);
  expect(await get(await tlsClient(clientOptions(port, ca, edge)))).toContain('edge-1');
});

test('I1: 200 clients at once through a cap of 2 are all served', async () => {
  const { server, port } = await start({ handshakes: 2, connections: 1000, connectionsPerIp: 1000 });
  const answers = await Promise.all(
    Array.from({ length: 200 }, async () => get(await tlsClient(clientOptions(port, ca, edge)))),
  );
  expect(answers.filter((answer) => answer.includes('edge-1'))).toHaveLength(200);
  await eventually('all sockets closed', () => server.size === 0);
});

test('I2: sockets that do not finish the handshake die at their own deadline, a byte a second or waiting', async () => {
  const clock = new ManualClock();
  const { server, port, metrics } = await start({ handshakes: 1 }, { clock });
  const early = await tcpClient(port);
  await eventually('first', () => server.size === 1);
  await clock.advance(5_000);
  const late = await tcpClient(port);
  await eventually('second, which waits for a place', () => server.size === 2);
  early.write(Buffer.from([0x16]));
  await clock.advance(4_000);
  early.write(Buffer.from([0x03]));
  expect(server.size).toBe(2);
  await clock.advance(1_250);
  await readAll(early);
  expect(server.size).toBe(1);
  await clock.advance(5_000);
  await readAll(late);
  expect(server.size).toBe(0);
  expect(await metrics.expose()).toMatch(/handshake_failures_total\{.*reason="timeout".*\} 2/);
});

test.each([
  ['version 1', Buffer.from('PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n'), '203.0.113.7'],
  [
    'version 2',
    Buffer.from('0d0a0d0a000d0a515549540a2111000ccb0071080a00000112670 1bb'.replace(' ', ''), 'hex'),
    '203.0.113.8',
  ],
])('H5: a PROXY header %s from a trusted balancer gives the address', async (_, header, address) => {
  const { port, server } = await start({ proxyProtocolFrom: ['127.0.0.0/8'] });
  const accepted = once(server.server, 'connection');
  const raw = await tcpClient(port);
  raw.write(header.subarray(0, 9));
  const [peer] = (await accepted) as [Socket];
  await eventually('the first half has arrived', () => peer.bytesRead === 9);
  raw.write(header.subarray(9));
  const { port: _port, host: _host, ...options } = clientOptions(port, ca, edge);
  expect(await get(await tlsClient({ ...options, socket: raw }))).toContain(`edge-1 from ${address}`);
});

test('H5: a header from elsewhere is not believed, a balancer without header is ended', async () => {
  const plain = await start();
  const raw = await tcpClient(plain.port);
  raw.write('PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n');
  await readAll(raw);
  const trusting = await start({ proxyProtocolFrom: ['127.0.0.1'] });
  await expect(tlsClient(clientOptions(trusting.port, ca))).rejects.toThrow();
  expect(await trusting.metrics.expose()).toMatch(/reason="proxy-protocol".*\} 1/);
});
