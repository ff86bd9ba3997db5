import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Content } from '../../src/protocol/content.ts';
import { EdgeCoreSocket } from '../support/edges/edgecore.ts';
import { LARGEST_SHAPES } from '../support/edges/largest-messages.ts';
import { eventually } from '../support/eventually.ts';
import { metric, mintNode, sendDown } from '../support/fleets/gateway-views.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';

const open = async (hub: TestGateway, node: string) =>
  EdgeCoreSocket.open(hub.port('websocket'), node, await mintNode(hub, node));

/** Every part of it would be changed by parsing and writing it again. */
const EXACT = '{"b":9223372036854775807,"a":[1e400,-0,1.0],"a":"\\u00e9\\/😀","__proto__":{"x":1}}';

test('N3: content passes from edge to program, and back with the answer, byte for byte', async () => {
  await using hub = await startTestGateway();
  const edge = await open(hub, 'edge-1');
  const following = new AbortController();
  let seen = '';
  const followed = (async () => {
    for await (const { text } of hub.admin.events('/api/v1/events?type=message', {
      signal: following.signal,
    }))
      seen = text;
  })();
  await eventually('somebody follows', async () => (await metric(hub, 'upstream_subscribers')) === 1);
  const route = '{"source":"edged","group":"resource","operation":"update","resource":"default/pod/p"}';
  edge.socket.send(`{"header":{"msg_id":"u","timestamp":1},"route":${route},"content":${EXACT}}`);
  await eventually('the program sees it', () => seen.includes(`"content":${EXACT}}`));
  following.abort();
  await followed;

  const sending = sendDown(hub, 'edge-1', {
    resource: 'app/x',
    content: Content.check(Buffer.from(EXACT)),
    wait: 'ack',
  });
  await eventually('the edge has it', () => edge.raw.length === 1);
  expect(edge.raw[0]).toContain(`"content":${EXACT}}`);
  const { msg_id } = edge.received[0]!.header;
  edge.socket.send(
    `{"header":{"msg_id":"d","parent_msg_id":"${msg_id}","timestamp":1},"route":{"operation":"response"},"content":${EXACT}}`,
  );
  expect((await sending).kind).toBe('acknowledged');
  edge.socket.close();
});

describe('N2: two megabytes of', () => {
  let hub: TestGateway;
  beforeAll(async () => {
    hub = await startTestGateway();
  });
  afterAll(() => hub[Symbol.asyncDispose]());

  test.each(LARGEST_SHAPES)(
    '$what are taken, or refused with a reason and counted, and others go on',
    async ({ make, counted }) => {
      const dropped = () => metric(hub, 'messages_dropped_total', { reason: counted ?? '' });
      const before = await dropped();
      const [good, hostile] = [await open(hub, 'good'), await open(hub, 'hostile')];
      const closed = once(hostile.socket, 'close');
      hostile.socket.send(
        `{"header":{"msg_id":"h","timestamp":1,"sync":true},"route":{"source":"edged","operation":"update","resource":"a/b"},"content":${make(2 * 1024 * 1024)}}`,
      );
      if (counted === undefined) await eventually('it is taken', () => hostile.received.length === 1);
      else {
        expect((await closed)[0]).toBe(counted === 'malformed' ? 1002 : 1009);
        expect(await dropped()).toBe(before + 1);
      }
      good.socket.send(
        '{"header":{"msg_id":"g","timestamp":1,"sync":true},"route":{"source":"edged","operation":"update","resource":"a/b"},"content":1}',
      );
      await eventually('another is answered', () => good.received.length === 1);
      good.socket.close();
      hostile.socket.close();
    },
  );
});
