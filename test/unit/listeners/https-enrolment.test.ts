import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { createLogger } from '../../../src/core/pino-log.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { rawConnection, readToEnd } from '../../support/edges/https-client.ts';
import { mintCa, mintEdge } from '../../support/pki/pki.ts';
import { startHttps } from './https-fixture.ts';

const DAY = 86_400_000;
const csr = Buffer.from('a certificate signing request');
const join = { nodename: 'edge-1', authorization: 'Bearer a.b.c.d' };

describe('/ca.crt', () => {
  test('is the DER of the CA, for GET, and its length alone for HEAD', async () => {
    await using hub = await startHttps();
    const got = await hub.get('/ca.crt');
    expect([got.status, got.headers['content-type']]).toEqual([200, 'application/pkix-cert']);
    expect(got.body.equals(hub.ca.der)).toBe(true);
    const head = await hub.get('/ca.crt', { method: 'HEAD' });
    expect([head.status, head.headers['content-length'], head.body.length]).toEqual([
      200,
      String(hub.ca.der.length),
      0,
    ]);
  });
});

describe('/edge.crt', () => {
  test('reads the body of a GET as EdgeCore sends it: Content-Length and no content type', async () => {
    await using hub = await startHttps();
    const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca });
    const answer = readToEnd(socket);
    socket.write(
      `GET /edge.crt HTTP/1.1\r\nHost: hub\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: ${csr.length}\r\n` +
        'Authorization: Bearer a.b.c.d\r\nNodename: edge-1\r\nExtkeyusages: [2]\r\nConnection: close\r\n\r\n',
    );
    socket.write(csr);
    expect(await answer).toMatch(/^HTTP\/1.1 200 OK\r\n[\s\S]*\r\n\r\ncertificate of the issuer$/);
    expect(hub.issuer.requests).toMatchObject([
      {
        nodeName: 'edge-1',
        token: 'a.b.c.d',
        extKeyUsages: [2],
        peer: undefined,
        remoteAddress: '127.0.0.1',
      },
    ]);
    expect(Buffer.from(hub.issuer.requests[0]!.csr).equals(csr)).toBe(true);
  });

  test.each([
    ['GET', 'application/octet-stream'],
    ['GET', 'this is no media type'],
    ['POST', 'application/json'],
    ['POST', ';;'],
    ['POST', undefined],
  ])(
    'D8: %s with content type %s is read all the same, length-delimited or chunked',
    async (method, type) => {
      await using hub = await startHttps();
      const headers = { ...join, ...(type ? { 'content-type': type } : {}) };
      expect((await hub.get('/edge.crt', { method, headers, body: csr })).status).toBe(200);
      const chunked = { ...headers, 'transfer-encoding': 'chunked', 'content-length': '' };
      const { 'content-length': _, ...withoutLength } = chunked;
      const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca });
      const answer = readToEnd(socket);
      const lines = Object.entries({ host: 'hub', connection: 'close', ...withoutLength });
      socket.write(`${method} /edge.crt HTTP/1.1\r\n${lines.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`);
      socket.write(`5\r\n${csr.subarray(0, 5)}\r\n${(csr.length - 5).toString(16)}\r\n`);
      socket.write(`${csr.subarray(5)}\r\n0\r\n\r\n`);
      expect(await answer).toMatch(/^HTTP\/1.1 200 /);
      expect(hub.issuer.requests.map((request) => Buffer.from(request.csr).toString())).toEqual([
        csr.toString(),
        csr.toString(),
      ]);
    },
  );

  test('D8: a GET without a body is 400, and says what to send', async () => {
    await using hub = await startHttps();
    const answer = await hub.get('/edge.crt', { headers: join });
    expect([answer.status, answer.headers['sallyport-reason']]).toEqual([400, 'csr-missing']);
    expect(answer.text).toBe(
      'the request has no body; send the certificate signing request in DER as the body\n',
    );
    expect(hub.issuer.requests).toEqual([]);
  });

  test('D8: a body over the limit is 413, declared or not, and no more of it is read', async () => {
    await using hub = await startHttps({ options: { bodyBytes: 1000 } });
    const to = hub.listener.address();
    const declared = await hub.get('/edge.crt', { headers: join, body: Buffer.alloc(1001) });
    expect([declared.status, declared.headers['sallyport-reason'], declared.headers.connection]).toEqual([
      413,
      'csr-too-large',
      'close',
    ]);
    expect((await hub.get('/edge.crt', { headers: join, body: Buffer.alloc(1000) })).status).toBe(200);

    // Megabytes that are under way when the answer is written must not turn it into a reset.
    for (let time = 0; time < 5; time++)
      expect((await hub.get('/edge.crt', { headers: join, body: Buffer.alloc(5_000_000) })).status).toBe(413);

    const socket = await rawConnection({ to, ca: hub.ca });
    const answer = readToEnd(socket);
    socket.write(
      'GET /edge.crt HTTP/1.1\r\nHost: h\r\nNodeName: edge-1\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    socket.write(`7d0\r\n${'x'.repeat(2000)}\r\n`);
    expect(await answer).toMatch(/^HTTP\/1.1 413 [\s\S]*the request body is larger than 1000 bytes\n$/);
  });

  test('D8: a body that never ends is 408 at its deadline, however it drips, and the connection is closed', async () => {
    const clock = new ManualClock();
    await using hub = await startHttps({ clock });
    const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca });
    const answer = readToEnd(socket);
    socket.write('GET /edge.crt HTTP/1.1\r\nHost: h\r\nNodeName: edge-1\r\nContent-Length: 9\r\n\r\n');
    await expect.poll(() => clock.pending).toBe(1);
    for (let second = 0; second < 9; second++) {
      if (second < 5) socket.write('x');
      await clock.advance(1000);
    }
    expect(clock.pending).toBe(1);
    await clock.advance(1000);
    expect(await answer).toMatch(/^HTTP\/1.1 408 [\s\S]*the request was not complete in time\n$/);
    expect(clock.pending).toBe(0);
    expect(hub.issuer.requests).toEqual([]);
  });

  test('D8: a caller that goes away in the middle of its body leaves nothing behind', async () => {
    const clock = new ManualClock();
    await using hub = await startHttps({ clock });
    const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca });
    socket.on('error', () => {});
    socket.write('GET /edge.crt HTTP/1.1\r\nHost: h\r\nNodeName: edge-1\r\nContent-Length: 9\r\n\r\nx');
    await expect.poll(() => clock.pending).toBe(1);
    socket.destroy();
    await expect.poll(() => clock.pending).toBe(0);
    expect((await hub.get('/ca.crt')).status).toBe(200);
  });

  test.each([
    ['CSR_INVALID', 400, { problem: 'its signature\ndoes not verify' }],
    ['TOKEN_EXPIRED', 401, { expiredAt: 'then', now: 'now' }],
    ['NODE_MISMATCH', 403, {}],
    ['RATE_LIMITED', 429, { retryAfterMs: 1500 }],
    ['SECRET_STORE_UNAVAILABLE', 503, { problem: 'timeout' }],
  ] as const)(
    'D9: %s of the issuer is status %i, its code in a header, and one plain line',
    async (code, status, details) => {
      await using hub = await startHttps();
      hub.issuer.failure = new SallyportError(code, details);
      const answer = await hub.get('/edge.crt', { headers: join, body: csr });
      const reason = code.toLowerCase().replaceAll('_', '-');
      expect([answer.status, answer.headers['sallyport-reason']]).toEqual([status, reason]);
      expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8');
      expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Bearer' : undefined);
      expect(answer.headers['retry-after']).toBe(status === 429 ? '2' : undefined);
      expect(answer.text).toMatch(/^[^\n]+\n$/);
    },
  );

  test('D9: an unexpected error is 500 and tells nothing of its cause', async () => {
    await using hub = await startHttps();
    hub.issuer.failure = new Error('the secret is 42');
    const answer = await hub.get('/edge.crt', { headers: join, body: csr });
    expect([answer.status, answer.text]).toEqual([500, 'an unexpected error happened\n']);
  });

  test.each(['Basic YTpi', 'Token a.b.c.d', 'Bearer', 'Bearer a b', 'a.b.c.d'])(
    'E6: Authorization of another scheme than Bearer is 401: %s',
    async (authorization) => {
      await using hub = await startHttps();
      const edge = await mintEdge(hub.ca, 'edge-1');
      for (const as of [undefined, edge]) {
        const answer = await hub.get('/edge.crt', { as, headers: { ...join, authorization }, body: csr });
        expect([answer.status, answer.headers['sallyport-reason']]).toEqual([401, 'token-invalid']);
      }
      expect(hub.issuer.requests).toEqual([]);
    },
  );

  test('the scheme is understood in any case, and ExtKeyUsages that is no array of numbers is 400', async () => {
    await using hub = await startHttps();
    const headers = { ...join, authorization: 'bearer  a.b.c.d' };
    expect((await hub.get('/edge.crt', { headers, body: csr })).status).toBe(200);
    for (const extkeyusages of ['{}', '["2"]', '[1.5]', 'x', `[${'1,'.repeat(50)}1]`]) {
      const answer = await hub.get('/edge.crt', { headers: { ...join, extkeyusages }, body: csr });
      expect(answer.status).toBe(400);
    }
    expect(
      (await hub.get('/edge.crt', { headers: { ...join, extkeyusages: 'null' }, body: csr })).status,
    ).toBe(200);
  });

  test('F1, F2: the issuer learns the verdict about every client certificate, and its DER, refused or not', async () => {
    await using hub = await startHttps();
    const good = await mintEdge(hub.ca, 'edge-1');
    const expired = await mintEdge(hub.ca, 'edge-1', {
      notBefore: new Date(Date.now() - 9 * DAY),
      notAfter: new Date(Date.now() - DAY),
    });
    const foreign = await mintEdge(await mintCa(), 'edge-1');
    for (const as of [good, expired, foreign])
      expect((await hub.get('/edge.crt', { as, headers: join, body: csr })).status).toBe(200);
    expect(hub.issuer.requests.map(({ peer }) => (peer?.ok ? peer.identity.nodeName : peer?.reason))).toEqual(
      ['edge-1', 'expired', 'unknown-ca'],
    );
    expect(hub.issuer.requests.map(({ peerCertificate }) => Buffer.from(peerCertificate!))).toEqual([
      good.der,
      expired.der,
      foreign.der,
    ]);
  });

  test('F3, L2: a refused certificate is told why in a word, logged with the name it claims, and counted', async () => {
    let logged = '';
    const write = (line: string) => {
      logged += line;
    };
    const log = createLogger({ level: 'info', format: 'json', destination: { write } });
    await using hub = await startHttps({ log });
    hub.issuer.failure = new SallyportError('PEER_REFUSED', { reason: 'expired 3 days ago' });
    const as = await mintEdge(hub.ca, 'edge-7', {
      notBefore: new Date(Date.now() - 9 * DAY),
      notAfter: new Date(Date.now() - 3 * DAY - 1000),
    });
    for (let time = 0; time < 3; time++) {
      const answer = await hub.get('/edge.crt', { as, headers: { nodename: 'edge-7' }, body: csr });
      expect([answer.status, answer.headers['sallyport-reason']]).toEqual([401, 'expired']);
    }
    expect(logged.match(/a client certificate was refused/g)).toHaveLength(1);
    expect(logged).toContain('node edge-7, expired 3 days ago');
    expect(await hub.metrics.expose()).toContain(
      'sallyport_handshake_failures_total{transport="https",reason="expired"} 3',
    );
  });

  test('A10: at the most verbose level neither token, nor CSR, nor query reaches the log', async () => {
    let logged = '';
    const write = (line: string) => {
      logged += line;
    };
    await using hub = await startHttps({
      log: createLogger({ level: 'trace', format: 'json', destination: { write } }),
    });
    const headers = { nodename: 'edge-1', authorization: 'Bearer verysecrettoken' };
    await hub.get('/edge.crt?token=secretquery', { headers, body: 'secretcsr' });
    hub.issuer.failure = new SallyportError('TOKEN_INVALID', { problem: 'unknown' });
    await hub.get('/edge.crt', { headers, body: 'secretcsr' });
    hub.issuer.failure = new Error('x');
    await hub.get('/edge.crt', { headers, body: 'secretcsr' });
    await expect.poll(() => logged.split('request answered').length).toBe(4);
    expect(logged).toContain('request refused');
    expect(logged).toContain('request failed');
    expect(logged).not.toMatch(/secret(token|csr|query)/);
  });
});

describe('limits', () => {
  test('D10: a flood from one source is 429 with Retry-After; a node with its certificate is served meanwhile', async () => {
    const clock = new ManualClock();
    await using hub = await startHttps({ clock, options: { requestsPerMinutePerSource: 5 } });
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => hub.get('/edge.crt', { headers: join, body: csr })),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5);
    const limited = answers.filter(({ status }) => status === 429);
    expect(limited).toHaveLength(45);
    expect(limited[0]!.headers['retry-after']).toBe('12');
    const as = await mintEdge(hub.ca, 'edge-2');
    expect((await hub.get('/edge.crt', { as, headers: { nodename: 'edge-2' }, body: csr })).status).toBe(200);
    await clock.advance(12_000);
    expect((await hub.get('/edge.crt', { headers: join, body: csr })).status).toBe(200);
  });

  test('D10: downloads of the CA are limited as well, more generously', async () => {
    await using hub = await startHttps({
      clock: new ManualClock(),
      options: { requestsPerMinutePerSource: 2 },
    });
    const answers = await Promise.all(Array.from({ length: 25 }, () => hub.get('/ca.crt')));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(20);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(5);
  });

  test('D10: there is a limit in all, whoever asks', async () => {
    await using hub = await startHttps({ clock: new ManualClock(), options: { requestsPerMinute: 3 } });
    const nodes = await Promise.all([1, 2, 3, 4].map((n) => mintEdge(hub.ca, `edge-${n}`)));
    const statuses = [];
    for (const as of nodes)
      statuses.push((await hub.get('/edge.crt', { as, headers: join, body: csr })).status);
    expect(statuses).toEqual([200, 200, 200, 429]);
    expect((await hub.get('/ca.crt')).status).toBe(200);
  });
});

describe('bad HTTP', () => {
  test.each([
    ['garbage', '\x00\x01\x02 hello\r\n\r\n', 400],
    ['an unknown version', 'GET /ca.crt HTTP/9.9\r\n\r\n', 400],
    ['a bare line feed in a header', 'GET / HTTP/1.1\r\nHost: h\r\na: b\nc\r\n\r\n', 400],
    [
      'two lengths',
      'POST /edge.crt HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx',
      400,
    ],
    [
      'length and chunks at once',
      'POST /edge.crt HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['huge headers', `GET / HTTP/1.1\r\nHost: h\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`, 431],
  ])('%s gets a status and a line, and the listener goes on', async (_name, bytes, status) => {
    await using hub = await startHttps();
    const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca });
    const answer = readToEnd(socket);
    socket.write(bytes, 'latin1');
    expect(await answer).toMatch(new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*\\r\\n\\r\\n[^\\n]+\\n$`));
    expect((await hub.get('/ca.crt')).status).toBe(200);
  });

  test.each([
    ['/%', 400],
    ['/node/%zz', 400],
    [`/node/${'a'.repeat(600)}`, 400],
    ['/nothing', 404],
    ['/CA.crt', 404],
    ['//ca.crt', 404],
    ['/ca.crt/../edge.crt', 404],
  ])('the path %s is %i with one plain line and nothing of the path in it', async (path, status) => {
    await using hub = await startHttps();
    const answer = await hub.get(path);
    expect([answer.status, answer.headers['content-type']]).toEqual([status, 'text/plain; charset=utf-8']);
    expect(answer.text).toMatch(/^[^\n]+\n$/);
    expect(answer.headers['x-content-type-options']).toBe('nosniff');
  });

  test('a keep-alive connection serves several requests, and ends after one whose body was not read', async () => {
    await using hub = await startHttps({ options: { bodyBytes: 10 } });
    const socket = await rawConnection({ to: hub.listener.address(), ca: hub.ca });
    socket.write('GET /livez HTTP/1.1\r\nHost: h\r\n\r\n');
    const [first] = await once(socket, 'data');
    expect(String(first)).toMatch(/^HTTP\/1.1 200 /);
    const answer = readToEnd(socket);
    socket.write(`GET /edge.crt HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n${'x'.repeat(20)}`);
    expect(await answer).toMatch(/^HTTP\/1.1 413 /);
  });
});
