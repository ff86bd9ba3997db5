import { expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { settle } from '../../fakes/manual-clock.ts';
import { startTestHub } from '../../support/fleets/hub.ts';

const POD = { source: 'edged', group: 'resource', operation: 'update', resource: 'default/podstatus/p-1' };

test('publishes what an edge says under its own prefix', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  edge.says(POD, { phase: 'Running' });
  const { event } = gate.events.at(-1)!;
  expect(event).toMatchObject({
    type: 'message',
    node: 'edge-1',
    bytes: 256,
    sessionId: gate.hub.get('edge-1')!.sessionId,
    message: {
      route: { ...POD, resource: 'node/edge-1/default/podstatus/p-1' },
      content: { phase: 'Running' },
    },
  });
  await settle();
  expect(await gate.metric('messages_total', { direction: 'upstream' })).toBe(1);
  expect(edge.sent).toEqual([]);
});

test('a message that the bus has taken at once holds nothing up: there is no promise to wait for', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  edge.says(POD, 'the node is known to be ours from here on');
  await settle();
  expect(edge.says(POD, 1).taken).toBeUndefined();
  expect(gate.events.at(-1)!.event).toMatchObject({ message: { content: 1 } });
});

test('keepalives stay in the hub, control operations are answered at once with ack', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  edge.keepalive();
  for (const operation of ['config', 'ping', 'pong']) {
    const { message, taken } = edge.says({ source: 'edgehub', group: 'hub', operation, resource: 'r' });
    await taken;
    expect(edge.sent.at(-1)).toMatchObject({
      header: { parent_msg_id: message.header.msg_id },
      route: { operation: 'response' },
      content: 'ack',
    });
  }
  expect(gate.events.filter(({ event }) => event.type === 'message')).toEqual([]);
});

test('J: a sync message is answered OK only after the bus took it', async () => {
  let take = () => {};
  await using gate = await startTestHub({
    wrapBus: (bus) =>
      Object.assign(Object.create(bus), {
        publish: () => new Promise<void>((resolve) => (take = resolve)),
        start: () => bus.start(new AbortController().signal),
        stop: () => bus.stop(new AbortController().signal),
        subscribe: bus.subscribe.bind(bus),
        attach: bus.attach.bind(bus),
      }),
  });
  const edge = gate.connect('edge-1');
  const { message, taken } = edge.says(POD, 1, { sync: true });
  await settle();
  expect(edge.sent).toEqual([]);
  take();
  await taken;
  expect(edge.sent).toMatchObject([
    {
      header: { parent_msg_id: message.header.msg_id },
      route: { ...POD, operation: 'response' },
      content: 'OK',
    },
  ]);
});

function failingBus(error: () => Promise<void>) {
  return {
    wrapBus: (bus: import('../../../src/contracts/message-bus.ts').MessageBus) =>
      new Proxy(bus, {
        get: (target, name) => {
          if (name === 'publish') return error;
          const value = Reflect.get(target, name, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
  };
}

test('J: a sync message the bus did not take is answered with the reason, and every loss is counted', async () => {
  await using gate = await startTestHub(
    failingBus(() => Promise.reject(new SallyportError('BUS_UNAVAILABLE', { problem: 'down' }))),
  );
  const edge = gate.connect('edge-1');
  await edge.says(POD, 1, { sync: true }).taken;
  await edge.says(POD, 2).taken;
  expect(edge.sent).toMatchObject([
    { route: { operation: 'error' }, content: expect.stringContaining('down') },
  ]);
  expect(
    await gate.metric('messages_dropped_total', { direction: 'upstream', reason: 'bus-unavailable' }),
  ).toBe(2);
  expect(edge.closedWith).toBeUndefined();
});

test('only who sets sync gets a receipt, whatever is said: EdgeCore never does, so its questions are left to the cloud', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  const question = { ...POD, operation: 'query', resource: 'default/configmap/c' };
  await edge.says(question).taken;
  expect(edge.sent).toEqual([]);
  expect(gate.events.at(-1)!.event.type).toBe('message');
  await edge.says(question, null, { sync: true }).taken;
  expect(edge.contents).toEqual(['OK']);
});

test('I9: keepalives and control are handled while the bus takes nothing, and our own standstill ends no session', async () => {
  await using gate = await startTestHub({
    ...failingBus(() => new Promise(() => {})),
    maxPendingUpstream: 4,
    keepaliveTimeoutMs: 30_000,
  });
  const edge = gate.connect('edge-1');
  edge.says(POD);
  for (let beat = 0; beat < 4; beat++) {
    await gate.clock.advance(20_000);
    edge.keepalive();
  }
  await edge.says({ operation: 'ping', resource: 'r' }).taken;
  expect(edge.contents).toEqual(['ack']);
  expect(edge.closedWith).toBeUndefined();
  for (let more = 0; more < 3; more++) edge.says(POD);
  await gate.clock.advance(120_000);
  expect(edge.closedWith).toBeUndefined();
});

test.each([
  ['another node by prefix', { ...POD, resource: 'node/edge-2/default/podstatus/p-1' }],
  ['another node behind its own prefix', { ...POD, resource: 'node/edge-1/node/edge-2/x' }],
  ['the status of another node', { ...POD, resource: 'default/nodestatus/edge-2' }],
  ['a patch of another node', { ...POD, resource: 'default/nodepatch/edge-2', operation: 'patch' }],
  ['the lease of another node', { ...POD, resource: 'kube-node-lease/lease/edge-2' }],
  ['another node in the form of the MetaServer', { ...POD, resource: 'core/v1/nodes/null/edge-2' }],
  ['another node in capitals', { ...POD, resource: 'NODE/edge-2/x' }],
  ['another node through dots', { ...POD, resource: 'x/../../edge-2/default/pod/p' }],
  ['another node behind empty parts', { ...POD, resource: '//node//edge-2/x' }],
  ['the cloud', { ...POD, source: 'edgecontroller' }],
  ['the cloud in capitals', { ...POD, source: 'CloudHub' }],
])('G5: a node may not speak for %s', async (_what, route) => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  await edge.says(route, null, { sync: true }).taken;
  expect(gate.events.filter(({ event }) => event.type === 'message')).toEqual([]);
  expect(edge.sent).toMatchObject([{ route: { operation: 'error' } }]);
  expect(edge.closedWith).toBeUndefined();
  expect(await gate.metric('messages_dropped_total', { reason: 'forbidden' })).toBe(1);
});

test.each([
  'default/nodestatus/edge-1',
  'default/node/edge-1',
  'node/edge-1/membership/detail',
  'kube-node-lease/lease/edge-1',
  'default/lease/leader-of-an-app',
  'core/v1/nodes/null/edge-1',
  'default/configmap/node',
  'default/pod/my.node-exporter.v1',
  'membership/detail',
  '',
])('G5: a node may speak about %j', async (resource) => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  edge.says({ ...POD, resource });
  expect(gate.events.at(-1)!.event.type).toBe('message');
});

test('G5: a node that goes on speaking for others loses its session', async () => {
  await using gate = await startTestHub();
  const edge = gate.connect('edge-1');
  for (let lie = 0; lie < 100; lie++) {
    expect(edge.closedWith).toBeUndefined();
    edge.says({ ...POD, source: 'edgecontroller' });
  }
  expect(edge.closedWith?.name).toBe('ProtocolError');
});
