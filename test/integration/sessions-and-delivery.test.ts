import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LeapingClock } from '../fakes/leaping-clock.ts';
import { captureLog } from '../support/capture-log.ts';
import { EdgeCoreSocket } from '../support/edges/edgecore.ts';
import { eventually } from '../support/eventually.ts';
import { listNodes, metric, metricsText, mintNode, sendDown } from '../support/fleets/gateway-views.ts';
import { writeSecret } from '../support/fleets/secret-files.ts';
import { startTestGateway, type TestGateway } from '../support/fleets/test-gateway.ts';
import { mintCa, mintEdge } from '../support/pki/pki.ts';

const open = async (hub: TestGateway, node: string) =>
  EdgeCoreSocket.open(hub.port('websocket'), node, await mintNode(hub, node));
const resources = (edge: EdgeCoreSocket) => edge.received.map(({ route }) => route.resource);
const closed = async ({ socket }: EdgeCoreSocket): Promise<[number, string]> => {
  const [code, text] = (await once(socket, 'close')) as [number, Buffer];
  return [code, text.toString()];
};

describe('sessions', () => {
  test('G4: two devices with one certificate are detected, reported and held off, and one of them works', async () => {
    const { log, records } = captureLog();
    const clock = new LeapingClock();
    await using hub = await startTestGateway({ log, clock, settings: { 'hub.flapThreshold': '2' } });
    const credentials = await mintNode(hub, 'edge-1');
    const connect = () => EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials);
    let present = await connect();
    let refusal: Error | undefined;
    await eventually('the newcomer is held off', async () => {
      present.keepalive();
      try {
        present = await connect();
        // Bursts of one device count once, so the two take turns at their own pace.
        clock.leap(1_050);
      } catch (error) {
        refusal = error as Error;
      }
      return refusal !== undefined;
    });
    expect(refusal?.message).toContain('429');
    expect(present.socket.readyState).toBe(present.socket.OPEN);
    expect(await metric(hub, 'session_flapping_total')).toBeGreaterThan(0);
    expect(records().find(({ msg }) => String(msg).includes('do two devices share'))).toMatchObject({
      node: 'edge-1',
      addresses: ['127.0.0.1', '127.0.0.1'],
    });
    const sending = sendDown(hub, 'edge-1', { resource: 'app/x', wait: 'ack' });
    await eventually('the message arrives', () => present.received.length === 1);
    present.acknowledge(present.received[0]!);
    expect((await sending).kind).toBe('acknowledged');
    present.socket.close();
  });

  test('G5: what a node says for another node is refused, counted and reaches no follower', async () => {
    await using hub = await startTestGateway();
    const edge = await open(hub, 'edge-1');
    const seen: string[] = [];
    const following = new AbortController();
    const followed = (async () => {
      const events = hub.admin.events('/api/v1/events?type=message', { signal: following.signal });
      for await (const { data } of events)
        seen.push((data as { message: { route: { resource: string } } }).message.route.resource);
    })();
    await eventually('somebody follows', async () => (await metric(hub, 'upstream_subscribers')) === 1);
    const route = { source: 'edged', group: 'resource', operation: 'update' };
    edge.send({ ...route, resource: 'node/edge-2/default/podstatus/p' }, {});
    edge.send({ ...route, source: 'edgecontroller', resource: 'default/configmap/c' }, {});
    edge.send({ ...route, resource: 'node/edge-1/default/podstatus/own' }, {});
    await eventually('its own message arrives', () => seen.length > 0);
    expect(seen).toEqual(['node/edge-1/default/podstatus/own']);
    expect(await metric(hub, 'messages_dropped_total', { reason: 'forbidden' })).toBe(2);
    following.abort();
    await followed;
    edge.socket.close();
  });

  test('G9: a session whose certificate expires, and one whose CA is retired, end within the grace and are told why', async () => {
    await using hub = await startTestGateway({ settings: { 'hub.expiryGraceMs': '500' } });
    const other = await mintCa();
    writeSecret(hub.folder, 'sallyport-trust', { 'old.crt': other.pem });
    const old = await mintEdge(other, 'edge-old');
    const credentials = { ca: '', cert: old.pem, key: old.key };
    const connect = () =>
      EdgeCoreSocket.open(hub.port('websocket'), 'edge-old', {
        ...credentials,
        ca: hubCa,
      });
    const { ca: hubCa, ...short } = await mintNode(hub, 'edge-short', {
      notAfter: new Date(Date.now() + 3_000),
    });
    let retiring: EdgeCoreSocket | undefined;
    await eventually('the further CA is accepted', () =>
      connect().then(
        (edge) => {
          retiring = edge;
          return true;
        },
        () => false,
      ),
    );
    const ending = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-short', { ...short, ca: hubCa });
    const staying = await open(hub, 'edge-long');
    const beats = setInterval(
      () => [retiring!, ending, staying].forEach((edge) => void edge.keepalive()),
      1_000,
    );
    const expiry = closed(ending);
    const retirement = closed(retiring!);
    rmSync(join(hub.folder, 'sallyport-trust.yaml'));
    expect(await retirement).toEqual([4411, expect.stringContaining('TrustRemoved')]);
    await expect(connect()).rejects.toThrow('401');
    expect(await expiry).toEqual([4412, expect.stringContaining('CertificateExpired')]);
    clearInterval(beats);
    expect((await listNodes(hub)).map(({ node }) => node)).toEqual(['edge-long']);
    staying.socket.close();
  });
});

describe('delivery', () => {
  test('J1, J5: what is never acknowledged is sent again to a bound, given up and counted; others are not delayed, nothing is left', async () => {
    await using hub = await startTestGateway({
      settings: { 'hub.ackTimeoutMs': '100', 'hub.ackRetries': '1' },
    });
    const edge = await open(hub, 'edge-1');
    const mute = sendDown(hub, 'edge-1', { resource: 'app/mute', wait: 'ack' });
    await eventually('it is sent again', () => edge.received.length >= 2);
    const other = sendDown(hub, 'edge-1', { resource: 'app/other', wait: 'ack' });
    await eventually('the other arrives', () => resources(edge).includes('app/other'));
    edge.acknowledge(edge.received.find(({ route }) => route.resource === 'app/other')!);
    expect((await other).kind).toBe('acknowledged');
    expect((await mute).kind).toBe('unacknowledged');
    const copies = edge.received.filter(({ route }) => route.resource === 'app/mute');
    expect(new Set(copies.map(({ header }) => header.msg_id)).size).toBe(1);
    expect(await metric(hub, 'messages_retried_total')).toBe(copies.length - 1);
    expect(await metric(hub, 'messages_dropped_total', { reason: 'unacknowledged' })).toBe(1);
    expect((await listNodes(hub))[0]).toMatchObject({ queued: 0, unacknowledged: 0 });
    expect(await metric(hub, 'downstream_queued_messages')).toBe(0);
    edge.socket.close();
  });

  test('J3: a call that is repeated under its id sends one message, and says that it is a duplicate to who waits', async () => {
    await using hub = await startTestGateway();
    const edge = await open(hub, 'edge-1');
    const message = { resource: 'app/x', id: 'order-17' };
    const queued = { kind: 'queued', msgId: 'order-17' };
    expect(await sendDown(hub, 'edge-1', message)).toEqual(queued);
    await eventually('it arrives', () => edge.received.length === 1);
    expect(edge.received[0]!.header.msg_id).toBe('order-17');
    edge.acknowledge(edge.received[0]!);
    expect(await sendDown(hub, 'edge-1', message)).toEqual(queued);
    expect(await sendDown(hub, 'edge-1', { ...message, wait: 'ack' })).toEqual({
      kind: 'dropped',
      reason: 'duplicate',
      msgId: 'order-17',
    });
    const content = undefined;
    await sendDown(hub, 'edge-1', { resource: 'app/next', content });
    await eventually('the next one arrives', () => edge.received.length === 2);
    expect(edge.received[1]).toMatchObject({ route: { resource: 'app/next' }, content: null });
    edge.socket.close();
  });

  test('J2: after a disconnect with unacknowledged messages the newest version of each is sent once, deletes included', async () => {
    await using hub = await startTestGateway();
    const credentials = await mintNode(hub, 'edge-1');
    const first = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials);
    const send = (name: string, version: number, operation = 'update') =>
      sendDown(hub, 'edge-1', {
        resource: `default/configmap/${name}`,
        operation,
        resourceVersion: String(version),
        content: { version },
      });
    await send('a', 5);
    await send('b', 5);
    await send('c', 5);
    await eventually('all were sent', () => first.received.length === 3);
    first.acknowledge(first.received.find(({ route }) => route.resource!.endsWith('/c'))!);
    await eventually('one is acknowledged', async () => (await listNodes(hub))[0]?.unacknowledged === 2);
    first.socket.terminate();
    await eventually('it is gone', async () => (await listNodes(hub)).length === 0);
    await send('a', 6);
    await send('a', 7);
    await send('b', 6, 'delete');
    const second = await EdgeCoreSocket.open(hub.port('websocket'), 'edge-1', credentials);
    second.socket.on('message', () => second.acknowledge(second.received.at(-1)!));
    await eventually('nothing waits any more', async () => {
      const [node] = await listNodes(hub);
      return second.received.length >= 2 && node?.unacknowledged === 0 && node.queued === 0;
    });
    expect(
      second.received.map(({ route, header }) => [route.resource, route.operation, header.resourceversion]),
    ).toEqual([
      ['default/configmap/a', 'update', '7'],
      ['default/configmap/b', 'delete', '6'],
    ]);
    second.socket.close();
  });

  test('J3: forged, duplicate and late acknowledgements complete nothing; one of the owner does, once', async () => {
    await using hub = await startTestGateway();
    const [owner, other] = [await open(hub, 'owner'), await open(hub, 'other')];
    let done = false;
    const sending = sendDown(hub, 'owner', { resource: 'app/x', wait: 'ack' }).finally(() => {
      done = true;
    });
    await eventually('it arrives', () => owner.received.length === 1);
    other.acknowledge(owner.received[0]!);
    const unknown = () => metric(hub, 'acknowledgements_total', { result: 'unknown' });
    await eventually('the forged one is counted', async () => (await unknown()) === 1);
    expect(done).toBe(false);
    for (let n = 0; n < 3; n++) owner.acknowledge(owner.received[0]!);
    expect((await sending).kind).toBe('acknowledged');
    await eventually('the others are counted', async () => (await unknown()) === 3);
    expect(await metric(hub, 'acknowledgements_total', { result: 'positive' })).toBe(1);
    for (const { socket } of [owner, other]) socket.close();
  });
});

test('L1, L2, L3: what an operator sees: expiry times, last reload, refusals by reason, and each node', async () => {
  await using hub = await startTestGateway({ settings: { 'hub.nodeMetrics': 'true' } });
  const edge = await open(hub, 'edge-1');
  const bad = await mintNode(hub, 'edge-2', { notBefore: new Date(Date.now() + 86_400_000) });
  const wrong = await mintNode(hub, 'edge-3', { usages: ['1.3.6.1.5.5.7.3.1'] });
  const mine = await mintNode(hub, 'edge-4');
  for (const [name, credentials] of [
    ['edge-2', bad],
    ['edge-3', wrong],
    ['edge-5', mine],
  ] as const)
    await expect(EdgeCoreSocket.open(hub.port('websocket'), name, credentials)).rejects.toThrow(/40[13]/);
  await eventually(
    'the fleet token is known',
    async () => (await metric(hub, 'fleet_token_not_after_timestamp_seconds')) > 0,
  );
  const text = await metricsText(hub);
  const soon = Date.now() / 1000;
  for (const kind of ['ca', 'hub'])
    expect(await metric(hub, 'certificate_not_after_timestamp_seconds', { kind })).toBeGreaterThan(soon);
  expect(await metric(hub, 'certificate_last_reload_successful')).toBe(1);
  expect(await metric(hub, 'certificate_last_reload_timestamp_seconds')).toBeGreaterThan(soon - 60);
  for (const reason of ['not-yet-valid', 'wrong-usage', 'node-mismatch'])
    expect(text).toMatch(
      new RegExp(`^sallyport_handshake_failures_total\\{transport="websocket",reason="${reason}"\\} 1$`, 'm'),
    );
  const [node] = await listNodes(hub);
  expect(node).toMatchObject({
    node: 'edge-1',
    replica: expect.any(String),
    transport: 'websocket',
    remoteAddress: '127.0.0.1',
    certificate: { serial: expect.any(String), issuer: expect.stringContaining('KubeEdge') },
    queued: 0,
    unacknowledged: 0,
  });
  const notAfter = Date.parse(node!.certificate.notAfter);
  expect(notAfter).toBeGreaterThan(Date.now());
  const ofNode = () => metric(hub, 'node_certificate_not_after_timestamp_seconds', { node: 'edge-1' });
  expect(await ofNode()).toBe(notAfter / 1000);
  edge.socket.close();
  await eventually('a node that is gone has no series', async () => (await ofNode()) === 0);
});
