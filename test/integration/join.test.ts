import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/protocol/message.ts';
import { EdgeClient } from '../../src/sdk/edge-client.ts';
import { eventually } from '../support/eventually.ts';
import { metric } from '../support/fleets/gateway-views.ts';
import { sallyport } from '../support/fleets/process.ts';
import { startTestGateway } from '../support/fleets/test-gateway.ts';

describe('join', () => {
  test('a node joins with a token, sends and receives, and comes back without the token', async () => {
    await using hub = await startTestGateway();
    const options = hub.edgeOptions('edge-1');
    const received: Message[] = [];
    const events: unknown[] = [];
    const following = new AbortController();
    const follow = (async () => {
      for await (const { data } of hub.admin.events('/api/v1/events?node=edge-1', {
        signal: following.signal,
      }))
        events.push(data);
    })();
    {
      await using edge = await EdgeClient.join({ ...options, token: await hub.nodeToken('edge-1') });
      edge.on('message', (message) => void received.push(message));
      await edge.connect();
      await edge.send({
        resource: 'default/podstatus/p-1',
        operation: 'update',
        content: { phase: 'Running' },
      });
      const answer = await hub.admin.post<{ kind: string }>('/api/v1/nodes/edge-1/messages', {
        resource: 'app/hello',
        operation: 'update',
        content: { hello: 'edge' },
        wait: 'ack',
      });
      expect(answer.kind).toBe('acknowledged');
      expect(received.map(({ content }) => content)).toEqual([{ hello: 'edge' }]);
    }
    await eventually('the upstream message and the disconnect are seen', () =>
      events.some((event) => (event as { type: string }).type === 'disconnected'),
    );
    following.abort();
    await follow;
    const message = events.find((event) => (event as { type: string }).type === 'message') as {
      message: Message;
    };
    expect(message.message.route.resource).toBe('node/edge-1/default/podstatus/p-1');
    expect(message.message.content).toEqual({ phase: 'Running' });

    await using again = await EdgeClient.open(options);
    await again.connect();
    await eventually(
      'the node is listed',
      async () => (await hub.admin.get<{ items: unknown[] }>('/api/v1/nodes')).items.length === 1,
    );
  });

  test('a program without NATS answers what an edge asks: over the admin API and with `send --answer`', async () => {
    await using hub = await startTestGateway();
    const token = await hub.nodeToken('edge-1');
    await using edge = await EdgeClient.join({ ...hub.edgeOptions('edge-1'), token });
    await edge.connect();
    const following = new AbortController();
    const asked = hub.admin.events('/api/v1/events?type=message', { signal: following.signal });
    const question = async () => {
      const { value } = await asked.next();
      return (value!.data as { message: Message }).message;
    };
    const ask = (resource: string) => edge.request({ resource, operation: 'query' });

    const first = question();
    await eventually('it follows', async () => (await metric(hub, 'upstream_subscribers')) === 1);
    const one = ask('app/config');
    const { header, route } = await first;
    await hub.admin.post('/api/v1/nodes/edge-1/messages', {
      ...{ parent_msg_id: header.msg_id, operation: 'response', resource: route.resource },
      content: { speed: 1 },
    });
    expect((await one).content).toEqual({ speed: 1 });
    expect((await one).header.parent_msg_id).toBe(header.msg_id);

    const two = ask('app/config');
    const { msg_id: id } = (await question()).header;
    following.abort();
    const files = ['--cert', 'admin.crt', '--key', 'admin.key', '--ca', 'ca.crt'].map((word) =>
      word.startsWith('--') ? word : join(hub.folder, word),
    );
    const send = (...words: string[]) =>
      sallyport([
        ...['send', 'edge-1', '--resource', 'app/config', '--admin', hub.gateway.ready().admin!],
        ...files,
        ...words,
      ]);
    expect((await send('--content', '2')).stderr).toContain('--operation is needed');
    expect(await send('--answer', id, '--content', '{"speed":2}')).toMatchObject({
      code: 0,
      stdout: 'queued\n',
    });
    expect((await two).content).toEqual({ speed: 2 });
  });

  test('E5: a used token is refused with its reason', async () => {
    await using hub = await startTestGateway();
    const token = await hub.nodeToken('edge-1');
    await using first = await EdgeClient.join({ ...hub.edgeOptions('edge-1'), token });
    expect(first.notAfter.getTime()).toBeGreaterThan(Date.now());
    await expect(EdgeClient.join({ ...hub.edgeOptions('edge-1'), token })).rejects.toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('used already'),
    });
  });

  test('D11: a token cannot take the place of a node that is connected now', async () => {
    await using hub = await startTestGateway();
    await using edge = await EdgeClient.join({
      ...hub.edgeOptions('edge-1'),
      token: await hub.nodeToken('edge-1'),
    });
    await edge.connect();
    const token = await hub.nodeToken('edge-1');
    await expect(EdgeClient.join({ ...hub.edgeOptions('edge-1'), token })).rejects.toMatchObject({
      code: 'JOIN_REFUSED',
      message: expect.stringContaining('is connected at this moment'),
    });
  });

  test('every file of the store and of the edge is readable by its owner only', async () => {
    await using hub = await startTestGateway();
    const options = hub.edgeOptions('edge-1');
    await using edge = await EdgeClient.join({ ...options, token: await hub.nodeToken('edge-1') });
    expect(edge.connected).toBe(false);
    const mode = (path: string) => statSync(path).mode & 0o777;
    for (const name of ['casecret.yaml', 'cloudcoresecret.yaml', 'tokensecret.yaml', 'admin.key'])
      expect(mode(join(hub.folder, name))).toBe(0o600);
    expect([mode(hub.folder), mode(options.directory)]).toEqual([0o700, 0o700]);
    expect(readFileSync(join(hub.folder, 'casecret.yaml'), 'utf8')).toContain('kind: Secret');
  });
});
