import { expect, test } from 'vitest';
import { withDefaults } from '../../../src/sdk/edge-client-options.ts';
import { messageOf } from '../../../src/sdk/message-draft.ts';

const required = { hub: { https: 'hub:10002' }, node: 'edge-1', directory: '.' };

test('an option that is undefined does not undo a default', () => {
  const given = { ...required, heartbeatMs: undefined, queue: { messages: undefined } };
  const settings = withDefaults(given as unknown as typeof required);
  expect(settings.heartbeatMs).toBe(15_000);
  expect(settings.queue.messages).toBe(1_000);
});

test('a draft becomes a message as KubeEdge writes it, empty fields left out', () => {
  const message = messageOf({ resource: 'a/b/c', operation: 'update' }, { now: 5, sync: false });
  expect(message.header).toEqual({ msg_id: expect.any(String), timestamp: 5 });
  expect(message.route).toEqual({
    source: 'edge',
    group: 'resource',
    operation: 'update',
    resource: 'a/b/c',
  });
  expect(message.content).toBeNull();
});

test('a whole message keeps its id, and is marked sync only when its acknowledgement is awaited', () => {
  const whole = messageOf({ resource: 'a', operation: 'b' }, { now: 5, sync: true });
  expect(messageOf(whole, { now: 9, sync: true })).toEqual(whole);
  expect(messageOf(whole, { now: 9, sync: false }).header).toEqual({
    msg_id: whole.header.msg_id,
    timestamp: 5,
  });
});
