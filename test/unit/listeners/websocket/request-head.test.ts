import { expect, test } from 'vitest';
import { only, readRequestHead } from '../../../../src/listeners/websocket/request-head.ts';
import { asksForUpgrade } from '../../../../src/listeners/websocket/upgrade-request.ts';

const read = (text: string) => readRequestHead(Buffer.from(text, 'latin1'));

test('reads target and headers, names without case, values without the space around them, and where the head ends', () => {
  const text = 'GET /a HTTP/1.1\r\nHost: x\r\nX-One:\t a b \t\r\nX-Two:\r\nnode_id: a\r\nNODE_ID: b\r\n\r\n';
  const head = read(`${text}rest`);
  expect(head).toMatchObject({ ok: true, target: '/a', bytes: text.length });
  const { fields } = head as Extract<typeof head, { ok: true }>;
  expect([only(fields, 'x-one'), only(fields, 'x-two'), only(fields, 'host')]).toEqual(['a b', '', 'x']);
  expect(only(fields, 'node_id')).toBeUndefined();
});

test('waits for the end of what may be a request, however it is cut', () => {
  const text = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
  for (let length = 0; length < text.length; length++) expect(read(text.slice(0, length))).toBeUndefined();
  expect(read(text)).toMatchObject({ ok: true });
});

test.each<[string, string, number]>([
  ['bytes of another protocol', '\x16\x03\x01\x00\n', 400],
  ['a line that ends with a line feed alone', 'GET / HTTP/1.1\nHost: x\n\n', 400],
  ['a header line that does', 'GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n', 400],
  ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: x\r\n\r\n', 400],
  ['a request line with two spaces', 'GET  / HTTP/1.1\r\nHost: x\r\n\r\n', 400],
  ['an empty line before it', '\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n', 400],
  ['no Host', 'GET / HTTP/1.1\r\nA: b\r\n\r\n', 400],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n', 400],
  ['a folded header', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n', 400],
  ['a space before the colon', 'GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n', 400],
  ['no colon', 'GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n', 400],
  ['an empty name', 'GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n', 400],
  ['a NUL in a value', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n', 400],
  ['a lone carriage return in a value', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n', 400],
  ['a chunked body', 'GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
  ['a body', 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n', 400],
  ['two lengths', 'GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n', 400],
  ['another method', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello', 405],
  ['65 headers', `GET / HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(64)}\r\n`, 431],
  ['a head of more than 16 KiB', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'b'.repeat(17_000)}\r\n\r\n`, 431],
  ['one that does not end', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'b'.repeat(17_000)}`, 431],
])('I2: %s is refused', (_, text, status) => {
  expect(read(text)).toMatchObject({ ok: false, status });
});

test('an upgrade is asked for by Upgrade and Connection, each in any case, the latter among other tokens', () => {
  const fields = (upgrade: string, connection: string) => new Map(Object.entries({ upgrade, connection }));
  expect(asksForUpgrade(fields('WebSocket', 'keep-alive, UPGRADE'))).toBe(true);
  expect(asksForUpgrade(fields('websocket', 'keep-alive\nupgrade'))).toBe(true);
  expect(asksForUpgrade(fields('h2c', 'upgrade'))).toBe(false);
  expect(asksForUpgrade(fields('websocket\nwebsocket', 'upgrade'))).toBe(false);
  expect(asksForUpgrade(fields('websocket', 'upgrades'))).toBe(false);
  expect(asksForUpgrade(new Map())).toBe(false);
});
