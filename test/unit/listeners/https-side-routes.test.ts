import { describe, expect, test } from 'vitest';
import { mintCa, mintEdge } from '../../support/pki/pki.ts';
import { startHttps } from './https-fixture.ts';

describe('/node/{name}', () => {
  test('G6: strangers get 404 whether the node exists or not, byte for byte the same', async () => {
    await using hub = await startHttps();
    hub.known.add('edge-1');
    const foreign = await mintEdge(await mintCa(), 'edge-1');
    const calls = [{}, { as: foreign }, { headers: { authorization: 'Bearer wrong' } }];
    for (const more of calls) {
      for (const node of ['edge-1', 'edge-9', 'NOT%20A%20NAME']) {
        const answer = await hub.get(`/node/${node}`, more);
        expect([answer.status, answer.text]).toEqual([404, 'Node not found']);
      }
    }
  });

  test('G6: a node learns the truth about itself and nothing about others', async () => {
    await using hub = await startHttps();
    hub.known.add('edge-1').add('edge-2');
    const as = await mintEdge(hub.ca, 'edge-1');
    const own = await hub.get('/node/edge-1', { as });
    expect([own.status, own.text]).toEqual([200, 'Node found']);
    for (const other of ['edge-2', 'edge-9']) {
      const answer = await hub.get(`/node/${other}`, { as });
      expect([answer.status, answer.headers['sallyport-reason']]).toEqual([403, 'node-mismatch']);
    }
    const fresh = await mintEdge(hub.ca, 'edge-3');
    expect((await hub.get('/node/edge-3', { as: fresh })).status).toBe(404);
  });

  test('G6: a token that is valid for the node may know', async () => {
    await using hub = await startHttps();
    hub.known.add('edge-1').add('edge-2');
    hub.issuer.validTokens.add('good edge-1');
    const headers = { authorization: 'Bearer good' };
    expect((await hub.get('/node/edge-1', { headers })).status).toBe(200);
    expect((await hub.get('/node/edge-2', { headers })).status).toBe(404);
  });

  test('D10: asking for names is limited', async () => {
    await using hub = await startHttps({ options: { requestsPerMinutePerSource: 2 } });
    const statuses = [];
    for (const node of ['a', 'b', 'c']) statuses.push((await hub.get(`/node/${node}`)).status);
    expect(statuses).toEqual([404, 404, 429]);
  });
});

describe('health', () => {
  test('H2: /livez stays well while /readyz fails, both without a certificate, and are never limited', async () => {
    await using hub = await startHttps({ options: { requestsPerMinutePerSource: 1 } });
    let problem: string | undefined = 'no certificates yet';
    hub.health.register('ping', ['livez', 'readyz'], () => undefined);
    hub.health.register('certificates', ['readyz'], () => {
      if (problem) throw new Error(problem);
      return undefined;
    });
    const live = await hub.get('/livez');
    expect([live.status, live.text]).toEqual([200, 'ok']);
    const ready = await hub.get('/readyz');
    expect([ready.status, ready.text]).toEqual([
      500,
      '[+]ping ok\n[-]certificates failed: reason withheld\nreadyz check failed\n',
    ]);
    expect((await hub.get('/healthz')).status).toBe(500);
    problem = undefined;
    const verbose = await hub.get('/readyz?verbose');
    expect([verbose.status, verbose.text]).toEqual([
      200,
      '[+]ping ok\n[+]certificates ok\nreadyz check passed\n',
    ]);
  });

  test('H2: checks are left out by name, and asked for one by one', async () => {
    await using hub = await startHttps();
    hub.health.register('ping', ['livez', 'readyz'], () => undefined);
    hub.health.register('bus', ['readyz'], () => Promise.reject(new Error('gone\nfor good')));
    const excluded = await hub.get('/readyz?verbose&exclude=bus&exclude=nonsense');
    expect([excluded.status, excluded.text]).toEqual([
      200,
      '[+]ping ok\n[+]bus excluded: ok\n' +
        'warn: some health checks cannot be excluded: no matches for "nonsense"\nreadyz check passed\n',
    ]);
    expect((await hub.get('/readyz/ping')).text).toBe('ok');
    const bus = await hub.get('/readyz/bus');
    expect([bus.status, bus.text]).toEqual([500, '[-]bus failed: reason withheld\nreadyz check failed\n']);
    expect((await hub.get('/livez/bus')).status).toBe(404);
    expect((await hub.get('/readyz/nonsense')).status).toBe(404);
  });
});
