import { connect } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../fakes/manual-clock.ts';
import { FakeApi } from '../support/cloudcore/fake-api.ts';
import { FakeCloudCore } from '../support/cloudcore/fake-cloudcore.ts';
import { FakeEdgeCore } from '../support/cloudcore/fake-edgecore.ts';
import { recordedFrame } from '../support/cloudcore/frames.ts';
import { eventually } from '../support/eventually.ts';
import { mintCa, mintEdge, mintServer } from '../support/pki/pki.ts';
import { advanceUntil } from '../support/while-advancing.ts';

const NODE = 'e-rel';

async function rig({ authorization = false, chain = false } = {}) {
  const clock = new ManualClock();
  const ca = await mintCa();
  const api = new FakeApi();
  const cloudcore = await new FakeCloudCore({
    ca,
    server: await mintServer(ca),
    api,
    clock,
    authorization,
  }).start();
  const edge = await mintEdge(ca, NODE);
  const credentials = { ca: ca.pem, cert: chain ? edge.pem + ca.pem : edge.pem, key: edge.key };
  const port = () => Number(cloudcore.address.split(':')[1]);
  const edgecore = await new FakeEdgeCore({ node: NODE, port, credentials, clock }).start();
  return {
    clock,
    api,
    cloudcore,
    edgecore,
    async [Symbol.asyncDispose]() {
      edgecore.stop();
      await cloudcore.kill();
    },
  };
}

/** The names in an answer, down to `depth`, without those that only the real API fills in. */
function shape(value: unknown, depth = 2): unknown {
  if (depth === 0 || typeof value !== 'object' || value === null) return value === null ? null : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shape(inner, depth - 1)]));
}

describe('the CloudCore of the tests answers as the recorded one', () => {
  test.each([
    { what: 'a new node', question: 9, answer: 10, before: [] },
    { what: 'a node it knows', question: 94, answer: 97, before: [9] },
    { what: 'a lease it does not know', question: 23, answer: 24, before: [] },
    { what: 'a new lease', question: 26, answer: 27, before: [] },
    { what: 'a patch of the node', question: 14, answer: 15, before: [9] },
    { what: 'a patch of a pod', question: 32, answer: 33, before: [9] },
    { what: 'a ConfigMap', question: 36, answer: 37, before: [] },
    { what: 'who still watches', question: 68, answer: 71, before: [] },
  ])('to $what', async ({ question, answer, before }) => {
    await using it = await rig();
    const { content } = recordedFrame(37);
    it.api.put('default/configmap/demo-e-rel', content as Record<string, unknown>);
    it.api.put('default/pod/app-e-rel', recordedFrame(30).content as Record<string, unknown>);
    for (const line of before)
      await it.edgecore.question(recordedFrame(line).route, recordedFrame(line).content);
    const asked = recordedFrame(question);
    const given = await it.edgecore.question(asked.route, asked.content);
    const recorded = recordedFrame(answer);
    expect(given?.route).toEqual(recorded.route);
    const ours = given?.content as { Err?: unknown };
    // The recording holds long contents as a text that was cut.
    const isCut = typeof recorded.content === 'string';
    const theirs = (isCut ? { Object: {}, Err: null } : recorded.content) as { Err?: unknown };
    expect(Object.keys(ours).toSorted()).toEqual(Object.keys(theirs).toSorted());
    if (theirs.Err) expect(shape(ours.Err, 3)).toEqual(shape(theirs.Err, 3));
  });

  test('what was pushed is acknowledged before it is forgotten, over a restart', async () => {
    await using it = await rig();
    it.api.put('default/configmap/a', { data: { n: '1' } }, { node: NODE });
    await eventually('acknowledged', () => it.api.missing(NODE).length === 0);
    await it.cloudcore.kill();
    it.api.put('default/configmap/b', { data: { n: '1' } }, { node: NODE });
    await it.cloudcore.start();
    await advanceUntil(it.clock, () => it.edgecore.counts.connects === 2);
    await eventually('acknowledged', () => it.api.missing(NODE).length === 0);
    expect(it.edgecore.pushed.map(({ route }) => route.resource)).toEqual([
      'default/configmap/a',
      'default/configmap/b',
    ]);
    expect(it.clock.now() - Date.UTC(2026, 0, 1)).toBeGreaterThanOrEqual(30_000);
  });

  test('with authorization a second certificate leaves an open, dead connection', async () => {
    await using dead = await rig({ authorization: true, chain: true });
    const asked = dead.edgecore.ask('query', `kube-node-lease/lease/${NODE}`);
    await advanceUntil(dead.clock, () => dead.edgecore.counts.unanswered === 1, 5_000);
    expect(await asked).toBeUndefined();
    expect(dead.edgecore.isOpen).toBe(true);
    expect(dead.cloudcore.connects[0]!.certificates).toBe(2);
    await using alive = await rig({ authorization: true });
    expect(await alive.edgecore.ask('query', `kube-node-lease/lease/${NODE}`)).toBeDefined();
  });

  test('a session that is silent for 30 s ends, and a frozen one takes no handshake', async () => {
    await using it = await rig();
    it.cloudcore.freeze();
    const { port } = new URL(`tcp://${it.cloudcore.address}`);
    const stranger = connect({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false });
    let isThrough = false;
    stranger.on('secureConnect', () => (isThrough = true)).on('error', () => {});
    await it.clock.advance(20_000);
    expect(isThrough).toBe(false);
    stranger.destroy();
    await it.clock.advance(30_000);
    it.cloudcore.freeze(false);
    await eventually('ended', () => !it.edgecore.isOpen);
  });
});
