import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { clientOptions, tlsClient } from '../../../support/edges/tls-client.ts';
import { eventually } from '../../../support/eventually.ts';
import { ca, edge } from '../../../support/pki/hub-and-edge.ts';
import { mintEdge } from '../../../support/pki/pki.ts';
import { closeOf, message, PROJECT, start, useWebSocketListeners } from './websocket-rig.ts';

useWebSocketListeners();

describe('messages', () => {
  test('O6: the zero message, with which EdgeCore says goodbye, ends the session as an orderly end', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    const closed = once(socket, 'close');
    socket.send('{"header":{"msg_id":"","timestamp":0},"route":{},"content":null}\n');
    const [code] = await closed;
    expect(code).toBe(1000);
    expect(record.messages).toEqual([]);
    expect(record.closes.map((reason) => reason?.name)).toEqual(['Normal']);
  });

  test('go both ways byte for byte, a newline at the end of ours', async () => {
    const { join } = await start();
    const { socket, record } = await join();
    const up = message({ deep: [1, null, 'ü'] });
    socket.send(`${JSON.stringify(up)}\n`);
    await eventually('a message', () => record.messages.length === 1);
    expect(JSON.stringify(record.messages[0])).toBe(JSON.stringify(up));
    expect(record.sizes[0]).toBe(Buffer.byteLength(JSON.stringify(up)) + 1);
    const received = once(socket, 'message');
    const down = message('down');
    await record.connection.send(down);
    const [data, isBinary] = (await received) as [Buffer, boolean];
    expect(isBinary).toBe(false);
    expect(data.toString()).toBe(`${JSON.stringify(down)}\n`);
    expect(record.connection.stats()).toMatchObject({
      bytesReceived: record.sizes[0],
      bytesSent: data.length,
    });
  });

  const bad: [string, string | Buffer, object, number][] = [
    ['a binary frame', Buffer.from('{}'), { binary: true }, 1003],
    ['no JSON', 'hello', {}, 1002],
    ['null', 'null', {}, 1002],
    ['an array', '[]', {}, 1002],
    ['wrong types', '{"header":{"msg_id":1},"route":{}}', {}, 1002],
    ['deep nesting', '['.repeat(100_000), {}, 1002],
    ['__proto__ instead of a header', '{"__proto__":{"header":{"msg_id":"a"},"route":{}}}', {}, 1002],
    ['invalid UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), { binary: false }, 1007],
  ];
  test.each(bad)('I15: %s closes only that connection', async (_, data, options, code) => {
    const { join, metrics } = await start();
    const other = await join({ node: 'edge-2', edge: await mintEdge(ca, 'edge-2') });
    const { socket, record } = await join();
    socket.send(data, options);
    expect((await closeOf(socket)).code).toBe(code);
    await eventually('onClose', () => record.closes.length === 1);
    expect(record.messages).toHaveLength(0);
    expect(await metrics.expose()).toMatch(
      /messages_dropped_total\{direction="upstream",reason="[a-z-]+"\} 1/,
    );
    other.socket.send(JSON.stringify(message()));
    await eventually('the other goes on', () => other.record.messages.length === 1);
  });

  test('I15: random bytes instead of frames end only their own connections', async () => {
    const { join, port, acceptor } = await start();
    const good = await join({ node: 'edge-2', edge: await mintEdge(ca, 'edge-2') });
    for (let round = 0; round < 60; round++) {
      const socket = await tlsClient(clientOptions(port, ca, edge));
      socket.write(
        `GET /${PROJECT}/edge-1/events HTTP/1.1\r\nHost: x\r\nnode_id: edge-1\r\nConnection: Upgrade\r\n` +
          'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
      );
      await once(socket, 'data');
      // Half of them begin as a text frame of a client, so that the bytes reach the parts behind the header.
      const begin = round % 2 ? Buffer.from([0x81, 0x80 | (round % 100), 0, 0, 0, 0]) : Buffer.alloc(0);
      socket.end(Buffer.concat([begin, randomBytes(300)]));
    }
    await eventually('all upgraded', () => acceptor.accepted.length === 61);
    await eventually('all ended', () =>
      acceptor.accepted.slice(1).every(({ closes }) => closes.length === 1),
    );
    expect(acceptor.accepted.slice(1).flatMap(({ messages }) => messages)).toEqual([]);
    good.socket.send(JSON.stringify(message()));
    await eventually('the good one goes on', () => good.record.messages.length === 1);
  });

  test('I4: a message over the limit is closed with 1009, declared or in fragments, and memory stays flat', async () => {
    const limit = 1 << 20;
    const { join } = await start({ options: { maxMessageBytes: limit } });
    const declared = await join();
    declared.socket.send(`"${'x'.repeat(limit)}"`);
    expect((await closeOf(declared.socket)).code).toBe(1009);
    const { socket, record } = await join();
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    const part = 'y'.repeat(64 * 1024);
    const closed = closeOf(socket);
    for (let n = 0; n < 64 && socket.readyState === socket.OPEN; n++) {
      await new Promise((resolve) => socket.send(part, { fin: false }, resolve));
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
    }
    expect((await closed).code).toBe(1009);
    expect(record.closes).toMatchObject([{ name: 'MessageTooLarge' }]);
    // Both ends are in this process.
    expect(peak).toBeLessThan(4 * limit);
  });

  test('a handler that throws or rejects closes the connection with 1011 and is logged', async () => {
    const { join, acceptor, log } = await start();
    for (const onMessage of [
      () => {
        throw new Error('broken');
      },
      () => Promise.reject(new Error('broken')),
    ]) {
      acceptor.onMessage = onMessage;
      const { socket } = await join();
      socket.send(JSON.stringify(message()));
      expect((await closeOf(socket)).code).toBe(1011);
    }
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(2);
  });
});
