import { expect, test } from 'vitest';
import type { GatewayEvent } from '../../../../src/contracts/event-recorder.ts';
import { KubeApiError } from '../../../../src/secrets/kubernetes/kube-errors.ts';
import { KubeEvents } from '../../../../src/secrets/kubernetes/kube-events.ts';
import { ManualClock, settle } from '../../../fakes/manual-clock.ts';
import { capturedLog } from '../../../support/captured-log.ts';

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly contentType?: string;
  readonly body?: unknown;
}
type Body = Record<string, unknown> & { metadata: { name: string }; count: number; message: string };

function rig({ replica = 'hub-1', burst = 25 } = {}) {
  const clock = new ManualClock();
  const log = capturedLog();
  const sent: Sent[] = [];
  let answer: () => Promise<unknown> = async () => ({});
  const call = async (request: Sent) => {
    sent.push(request);
    return answer();
  };
  const events = new KubeEvents(
    { client: { namespace: 'kubeedge', call }, clock, log },
    { replica, burst, spacingMs: 1_000 },
  );
  const bodies = (method: string) =>
    sent.filter((one) => one.method === method).map(({ body }) => body as Body);
  return {
    clock,
    log,
    sent,
    events,
    bodies,
    respond: (next: typeof answer) => {
      answer = next;
    },
  };
}

const issued = (node: string): GatewayEvent => ({
  reason: 'EdgeCertificateIssued',
  type: 'Normal',
  secret: 'casecret',
  message: `issued to ${node}`,
});

test('L5: an action becomes an Event about its Secret, in the namespace of the Secret, with the replica that did it', async () => {
  const { events, sent, bodies } = rig();
  events.record(issued('edge-1'));
  await settle();
  expect(sent[0]).toMatchObject({ method: 'POST', path: '/api/v1/namespaces/kubeedge/events' });
  expect(bodies('POST')[0]).toMatchObject({
    kind: 'Event',
    metadata: { namespace: 'kubeedge' },
    involvedObject: { kind: 'Secret', name: 'casecret', namespace: 'kubeedge' },
    reason: 'EdgeCertificateIssued',
    message: 'issued to edge-1',
    type: 'Normal',
    count: 1,
    firstTimestamp: '2026-01-01T00:00:00Z',
    reportingInstance: 'hub-1',
  });
});

test('L5: the same again is counted in the same object; after an hour, when Kubernetes has forgotten it, it is a new one', async () => {
  const { events, sent, bodies, clock } = rig();
  for (let round = 0; round < 3; round++) {
    events.record(issued('edge-1'));
    await clock.advance(60_000);
  }
  const { name } = bodies('POST')[0]!.metadata;
  expect(bodies('PATCH').map(({ count }) => count)).toEqual([2, 3]);
  expect(sent[1]).toMatchObject({
    path: `/api/v1/namespaces/kubeedge/events/${name}`,
    contentType: 'application/merge-patch+json',
  });
  await clock.advance(3_600_000);
  events.record(issued('edge-1'));
  await settle();
  expect(bodies('POST')).toHaveLength(2);
  expect(bodies('POST')[1]!.metadata.name).not.toBe(name);
});

test('L5: an Event that Kubernetes does not know any more is written anew with its count', async () => {
  const { events, bodies, respond } = rig();
  events.record(issued('edge-1'));
  await settle();
  respond(async () => {
    respond(async () => ({}));
    throw new KubeApiError({ status: 404, reason: 'NotFound', kind: 'events' });
  });
  events.record(issued('edge-1'));
  await settle();
  expect(bodies('POST').map(({ count }) => count)).toEqual([1, 2]);
});

test('L5: a thousand nodes that join make ten Events and one that counts the others, written at a bounded rate', async () => {
  const { events, bodies, clock, sent } = rig({ burst: 12 });
  for (let node = 0; node < 1_000; node++) {
    events.record(issued(`edge-${node}`));
    await settle();
  }
  await clock.advance(5_000);
  expect(bodies('POST')).toHaveLength(11);
  expect(sent.length).toBeLessThanOrEqual(12 + 5);
  expect(bodies('PATCH').at(-1)!.count).toBe(990);
  expect(bodies('PATCH').at(-1)!.message).toMatch(/^\(combined from similar events\) issued to edge-999/);
});

test('L5: two replicas never write the same object', async () => {
  const [one, other] = [rig({ replica: 'a' }), rig({ replica: 'b' })];
  for (const { events } of [one, other]) events.record(issued('edge-1'));
  await settle();
  expect(one.bodies('POST')[0]!.metadata.name).not.toBe(other.bodies('POST')[0]!.metadata.name);
});

test('L5: an API that refuses Events is no failure: one line a minute, and the next is tried again', async () => {
  const { events, log, respond, clock, bodies } = rig();
  respond(() => Promise.reject(new KubeApiError({ status: 403, reason: 'Forbidden' })));
  for (let node = 0; node < 5; node++) {
    events.record(issued(`edge-${node}`));
    await settle();
  }
  expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
  respond(async () => ({}));
  await clock.advance(60_000);
  events.record(issued('edge-0'));
  await settle();
  expect(bodies('POST').at(-1)).toMatchObject({ message: 'issued to edge-0', count: 2 });
});

test('stopping writes what waits, or gives up when its time is over, and records nothing afterwards', async () => {
  const polite = rig();
  polite.events.record(issued('edge-1'));
  await polite.events.stop(new AbortController().signal);
  expect(polite.bodies('POST')).toHaveLength(1);
  polite.events.record(issued('edge-2'));
  await settle();
  expect(polite.bodies('POST')).toHaveLength(1);

  const { events, sent } = rig({ burst: 1 });
  for (let node = 0; node < 5; node++) events.record(issued(`edge-${node}`));
  const late = new AbortController();
  const stopped = events.stop(late.signal);
  await settle();
  late.abort();
  await stopped;
  expect(sent).toHaveLength(1);
});
