import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isSallyportError } from '../../../src/core/errors.ts';
import { parseHealthQuery } from '../../../src/core/health-report.ts';
import { sourceOf } from '../../../src/listeners/https/rate-limiter.ts';
import { bearerToken, extKeyUsages } from '../../../src/listeners/https/request-headers.ts';
import { rawConnection, readToEnd } from '../../support/edges/https-client.ts';
import { scaled } from '../../support/scale.ts';
import { startHttps } from './https-fixture.ts';

test('I15, E6: whatever a header holds, it is read or refused with a status, never a crash', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.json(),
    fc.constantFrom('Bearer', 'bearer \t', '[2'),
  );
  fc.assert(
    fc.property(text, (value) => {
      for (const read of [
        () => bearerToken({ authorization: value }),
        () => extKeyUsages({ extkeyusages: value }),
      ]) {
        try {
          const result = read();
          const numbers = Array.isArray(result) && result.every(Number.isInteger);
          expect(result === undefined || numbers || /^[!-~]+$/.test(String(result))).toBe(true);
        } catch (error) {
          expect(isSallyportError(error, 'TOKEN_INVALID', 'BAD_REQUEST')).toBe(true);
        }
      }
    }),
    { numRuns: scaled(3_000, 50) },
  );
});

test('I15: any address counts as some source, of any query something is made', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string()), fc.anything(), (address, query) => {
      expect(sourceOf(address).length).toBeLessThanOrEqual(Math.max(address.length, 40));
      expect(Array.isArray(parseHealthQuery(query).exclude)).toBe(true);
    }),
    { numRuns: scaled(3_000, 50) },
  );
});

test('I15, D8: broken requests close their own connection at most; the listener goes on', async () => {
  await using hub = await startHttps({ options: { requestTimeoutMs: 200 } });
  const piece = fc.constantFrom(
    'GET /edge.crt HTTP/1.1\r\n',
    'POST /edge.crt HTTP/1.1\r\n',
    'HEAD /node/x HTTP/1.1\r\n',
    'OPTIONS * HTTP/1.1\r\n',
    'CONNECT a:1 HTTP/1.1\r\n',
    'PRI * HTTP/2.0\r\n',
    'Host: h\r\n',
    'Content-Length: 5\r\n',
    'Content-Length: -1\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Expect: 100-continue\r\n',
    'Upgrade: websocket\r\nConnection: Upgrade\r\n',
    'Authorization: Bearer \xff\r\n',
    '\r\n',
    'ffffffffffffffff\r\n',
    '5\r\nhello\r\n0\r\n\r\n',
    '\0',
  );
  const request = fc.array(fc.oneof({ weight: 4, arbitrary: piece }, fc.string({ maxLength: 40 })), {
    maxLength: 8,
  });
  await fc.assert(
    fc.asyncProperty(request, async (pieces) => {
      const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca });
      const ended = readToEnd(socket);
      socket.end(pieces.join(''), 'latin1');
      await ended;
    }),
    { numRuns: 60 },
  );
  expect((await hub.get('/ca.crt')).status).toBe(200);
});
