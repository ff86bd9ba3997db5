import { describe, expect, test } from 'vitest';
import { createMessage } from '../../src/protocol/message.ts';
import { SlowOwnership } from '../fakes/slow-ownership.ts';
import { frameText, recordedFrame } from '../support/cloudcore/frames.ts';
import { startRelayRig } from '../support/cloudcore/relay-rig.ts';
import { eventually } from '../support/eventually.ts';
import { mintServer } from '../support/pki/pki.ts';
import { advanceUntil } from '../support/while-advancing.ts';

const NODE = 'e-rel';
const LEASE = `kube-node-lease/lease/${NODE}`;
const WATCH = '/core/v1/configmaps/default/null';

describe('the relay', () => {
  test('U1: question and answer pass byte for byte, both ways, numbers that JavaScript cannot hold too', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    const question = frameText({
      ...recordedFrame(26),
      content: { spec: { holderIdentity: NODE, big: 1 } },
    }).replace('"big":1', '"big":9007199254740993,"z":1.0');
    edge.sendText(question);
    await eventually('it arrives', () => it.cloudcore.heard.some(({ text }) => text === question));
    await eventually('it is answered', () => edge.frames.some((text) => text.includes('"parent_msg_id"')));
    it.cloudcore.sendText(NODE, recordedText(30).replace('"generation":1', '"generation":9007199254740993'));
    await eventually('it is pushed', () => edge.frames.some((text) => text.includes('9007199254740993')));
    expect(edge.frames.at(-1)).toBe(
      recordedText(30).replace('"generation":1', '"generation":9007199254740993'),
    );
    expect(it.cloudcore.connects[0]).toMatchObject({ node: NODE, certificates: 1 });
  });

  test('L6: the relay agrees with CloudCore on a post-quantum group', async () => {
    await using it = await startRelayRig();
    await it.edge(NODE);
    await eventually('it is connected', () => it.cloudcore.connects.length === 1);
    expect(it.cloudcore.connects[0]?.group).toBe('X25519MLKEM768');
  });

  test('U1: what CloudCore could read in another way than the gateway never reaches it', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    const route = '{"source":"edged","group":"meta","operation":"query","resource":"default/configmap/a"}';
    const more = ',"Route":{"resource":"default/nodepatch/victim"}';
    edge.sendText(`{"header":{"msg_id":"m-1","timestamp":1},"route":${route},"content":null${more}}\n`);
    await eventually('it is refused', () => edge.counts.closes === 1);
    expect(it.cloudcore.heard.some(({ text }) => text.includes('victim'))).toBe(false);
  });

  test('U2: a CloudCore that is killed is not noticed: questions, watches and membership are said again in order', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    const watch = edge.metaserver('watch', 'configmaps');
    await watch.answer;
    await it.cloudcore.kill();
    await eventually('it is lost', () => it.hub.get(NODE)?.upstream?.state !== 'open');
    const asked = [edge.ask('query', LEASE), edge.ask('query', `null/node/${NODE}`)];
    edge.tell({ source: 'edged', group: 'meta', operation: 'insert', resource: 'default/event/e.1' }, {});
    await eventually('they wait', () => it.hub.get(NODE)?.upstream?.held === 1);
    const before = it.cloudcore.heard.length;
    await it.cloudcore.start();
    await advanceUntil(it.clock, () => edge.counts.answered === 3);
    await Promise.all(asked);
    await eventually('all was said', () => it.cloudcore.heard.length >= before + 5);
    const said = it.cloudcore.heard.slice(before).map(({ message }) => message.route.resource);
    expect(said.slice(0, 5)).toEqual([
      'membership/detail',
      'null',
      LEASE,
      `null/node/${NODE}`,
      'default/event/e.1',
    ]);
    expect([...it.cloudcore.watches.values()]).toEqual([{ node: NODE, key: WATCH }]);
    // The watch was answered before: the edge hears it once.
    expect(edge.counts).toMatchObject({ unanswered: 0, twice: 0, connects: 1, closes: 0 });
  });

  test('U2: an operator sees since when a node has no CloudCore, however often it is tried', async () => {
    await using it = await startRelayRig();
    await it.edge(NODE);
    const upstream = () => it.hub.get(NODE)?.upstream;
    await eventually('it is connected', () => upstream()?.state === 'open');
    await it.cloudcore.kill();
    await eventually('it is lost', () => upstream()?.state !== 'open');
    const lostAt = upstream()!.since;
    const end = it.clock.monotonic() + 60_000;
    await advanceUntil(it.clock, () => it.clock.monotonic() >= end);
    const tried = await it.metric('upstream_connects_total', { result: 'upstream-unavailable' });
    expect(tried).toBeGreaterThan(2);
    expect(upstream()!.since).toBe(lostAt);
    await it.cloudcore.start();
    await advanceUntil(it.clock, () => upstream()?.state === 'open');
    expect(Date.parse(upstream()!.since)).toBeGreaterThan(Date.parse(lostAt));
  });

  test('U2: the last words of an edge reach CloudCore, though its goodbye comes with them', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    const resources = ['a', 'b', 'c'].map((name) => `default/event/${name}`);
    for (const resource of resources) edge.tell({ source: 'edged', operation: 'insert', resource });
    edge.stop();
    await eventually('it has left', () => it.cloudcore.nodes.length === 0);
    const heard = it.cloudcore.heard.map(({ message }) => message.route.resource);
    expect(heard.slice(-3)).toEqual(resources);
  });

  test('U2: what CloudCore had pushed and was not acknowledged comes again from its own memory', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    it.api.put('default/configmap/a', {}, { node: NODE });
    await eventually('acknowledged', () => it.api.missing(NODE).length === 0);
    await it.cloudcore.kill();
    it.api.put('default/configmap/b', {}, { node: NODE });
    await it.cloudcore.start();
    await advanceUntil(it.clock, () => it.api.missing(NODE).length === 0);
    expect(edge.pushed.map(({ route }) => route.resource)).toEqual([
      'default/configmap/a',
      'default/configmap/b',
    ]);
    expect(edge.counts.closes).toBe(0);
  });

  test('U2: a frozen CloudCore is replaced after 20 s without a pong, the edge stays', async () => {
    await using it = await startRelayRig({ cloudcores: 2 });
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    const frozen = it.cloudcores.find(({ nodes }) => nodes.includes(NODE))!;
    const other = it.cloudcores.find((one) => one !== frozen)!;
    frozen.freeze();
    const answer = edge.ask('query', LEASE);
    const since = it.clock.monotonic();
    await advanceUntil(it.clock, () => other.nodes.includes(NODE), 1_000);
    expect(it.clock.monotonic() - since).toBeLessThan(35_000);
    expect(await answer).toBeDefined();
    expect(edge.counts).toMatchObject({ unanswered: 0, closes: 0 });
    expect(await it.metric('upstream_losses_total', { reason: 'frozen' })).toBe(1);
    frozen.freeze(false);
  });

  test('U2: a connection that is open and dead, while others are answered, is opened anew', async () => {
    await using it = await startRelayRig();
    it.cloudcore.zombies.add(NODE);
    const edge = await it.edge(NODE);
    const other = await it.edge('e-2');
    await eventually('both are there', () => it.cloudcore.nodes.length === 2);
    const answers: Promise<unknown>[] = [];
    void edge.ask('query', LEASE);
    await advanceUntil(
      it.clock,
      () => {
        if (answers.length === other.counts.answered)
          answers.push(other.ask('query', 'kube-node-lease/lease/e-2'));
        return it.cloudcore.connects.filter(({ node }) => node === NODE).length === 2;
      },
      1_000,
    );
    expect(await it.metric('upstream_losses_total', { reason: 'silent' })).toBe(1);
    expect(edge.counts.closes).toBe(0);
  });

  test('U2: a CloudCore that refuses is passed over for one that does not, and the edge stays', async () => {
    await using it = await startRelayRig({ cloudcores: 2 });
    for (const one of it.cloudcores) one.illness = 'refuses';
    const edge = await it.edge(NODE);
    const answer = edge.ask('query', LEASE);
    const refused = async (): Promise<boolean> =>
      (await it.metric('upstream_connects_total', { result: 'upstream-refused' })) > 0;
    await eventually('it is refused', refused);
    const well = it.cloudcores[1]!;
    well.illness = 'none';
    await advanceUntil(it.clock, () => well.nodes.includes(NODE));
    expect(await answer).toBeDefined();
    expect(edge.counts).toMatchObject({ closes: 0, unanswered: 0 });
  });

  test('U2: nothing is sent to a CloudCore whose certificate is not from the CA, and the edge stays', async () => {
    await using it = await startRelayRig();
    const stranger = it.newCloudCore(await it.certificateOfStranger());
    await stranger.start();
    it.use([stranger.address]);
    const edge = await it.edge(NODE);
    await eventually('it was refused', async () => {
      return (await it.metric('upstream_connects_total', { result: 'upstream-untrusted' })) > 0;
    });
    expect(stranger.connects).toEqual([]);
    expect(edge.isOpen).toBe(true);
    it.use([it.cloudcore.address]);
    await advanceUntil(it.clock, () => it.cloudcore.nodes.includes(NODE));
    await stranger.kill();
  });

  test('U2: a stranger in the place of a CloudCore that was verified before is refused', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    it.cloudcore.serve(await it.certificateOfStranger());
    it.cloudcore.drop(NODE);
    await eventually('it was refused', async () => {
      await it.clock.advance(250);
      return (await it.metric('upstream_connects_total', { result: 'upstream-untrusted' })) > 0;
    });
    expect(it.cloudcore.connects).toHaveLength(1);
    expect(edge.counts.closes).toBe(0);
  });

  test('U2: ten minutes without CloudCore end no session; the books stay within their bounds, /readyz fails', async () => {
    await using it = await startRelayRig({ holdMs: 300_000 });
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    await it.cloudcore.kill();
    await eventually('it is lost', () => it.hub.get(NODE)?.upstream?.state !== 'open');
    for (let n = 0; n < 700; n++)
      edge.tell({ source: 'edged', group: 'meta', operation: 'insert', resource: `default/event/e.${n}` });
    const dropped = () => it.metric('messages_dropped_total', { reason: 'upstream-books-full' });
    await eventually('what is too much was dropped', async () => (await dropped()) === 200);
    expect(it.hub.get(NODE)?.upstream?.held).toBe(500);
    expect(it.relay.problem()).toBeUndefined();
    await advanceUntil(it.clock, () => it.relay.problem() !== undefined, 5_000);
    for (let minute = 0; minute < 10; minute++) await advanceUntil(it.clock, () => true, 60_000);
    expect(edge.counts.closes).toBe(0);
  });

  test('U2: an edge that does not read holds CloudCore up, not the gateway, and loses nothing', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    edge.read(false);
    for (let n = 0; n < MANY; n++) it.cloudcore.sendText(NODE, event(n));
    await eventually('the gateway reads no more', () => it.hub.get(NODE)!.messagesSent > 0);
    await standsStill(() => it.cloudcore.unsentBytes(NODE));
    expect(it.cloudcore.unsentBytes(NODE)).toBeGreaterThan((MANY / 4) * MIB);
    edge.read(true);
    await eventually('it has everything', () => edge.pushed.length === MANY);
    expect(edge.pushed.map(({ header }) => header.msg_id)).toEqual(numbers());
  });

  test('U1: a frame of 24 MiB from CloudCore arrives byte for byte; one of 33 MiB costs the connection behind, not the edge', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    const large = event(0).replace(/x{100}/, 'x'.repeat(24 * MIB));
    it.cloudcore.sendText(NODE, large);
    await eventually('it arrives', () => edge.frames.some((text) => text === large));
    it.cloudcore.sendText(NODE, 'x'.repeat(33 * MIB));
    await eventually('the connection behind is lost', () => it.hub.get(NODE)?.upstream?.reconnects === 1);
    await advanceUntil(it.clock, () => it.hub.get(NODE)?.upstream?.state === 'open');
    const after = event(1);
    it.cloudcore.sendText(NODE, after);
    await eventually('the edge is still served', () => edge.frames.includes(after));
    expect(edge.counts.closes).toBe(0);
  });

  test('U2: a CloudCore that does not read holds the edge up, not the gateway, and nothing is lost', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    it.cloudcore.freeze();
    for (let n = 0; n < MANY; n++) edge.sendText(event(n));
    await standsStill(() => edge.unsentBytes);
    expect(edge.unsentBytes).toBeGreaterThan((MANY / 4) * MIB);
    it.cloudcore.freeze(false);
    const heard = () =>
      it.cloudcore.heard
        .filter(({ message }) => message.route.resource === 'default/event/e')
        .map(({ message }) => message.header.msg_id);
    await eventually('it has everything', () => heard().length === MANY);
    expect(heard()).toEqual(numbers());
  });

  test('U3: a node that is revoked at the front is shut out, and its CloudCore session ends', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    it.revoked.add(NODE);
    it.hub.applyTrust((identity) => it.gate.stillTrusted(identity));
    await eventually('both ends', () => !edge.isOpen && it.cloudcore.nodes.length === 0);
    await expect(it.edge(NODE)).rejects.toThrow('403');
    expect(it.cloudcore.connects).toHaveLength(1);
  });

  test('U4: a new certificate of CloudCore from the same CA is noticed by nobody', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    it.cloudcore.serve(await mintServer(it.ca, { notBefore: new Date(0), notAfter: new Date(2 ** 41) }));
    it.cloudcore.drop(NODE);
    await advanceUntil(it.clock, () => it.cloudcore.connects.length === 2);
    expect(edge.counts.closes).toBe(0);
  });

  test('U5: when one of three CloudCores is killed its nodes are on the others within 15 s', async () => {
    await using it = await startRelayRig({ cloudcores: 3 });
    const nodes = Array.from({ length: 12 }, (_, n) => `e-${n}`);
    const edges = await Promise.all(nodes.map((node) => it.edge(node)));
    const placed = () => it.cloudcores.flatMap((one) => one.nodes).toSorted();
    await eventually('all are placed', () => placed().length === nodes.length);
    const [first, ...others] = it.cloudcores.toSorted((a, b) => b.nodes.length - a.nodes.length);
    const stayed = others.flatMap((one) => one.connects.length);
    const moved = first!.nodes.length;
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThan(nodes.length);
    const since = it.clock.monotonic();
    await first!.kill();
    await advanceUntil(it.clock, () => placed().length === nodes.length);
    expect(it.clock.monotonic() - since).toBeLessThan(15_000);
    const connects = others.flatMap((one) => one.connects.length);
    expect(connects.reduce((a, b) => a + b) - stayed.reduce((a, b) => a + b)).toBe(moved);
    expect(edges.every(({ counts }) => counts.closes === 0)).toBe(true);
  });

  test('U2: a new connection of the edge takes over and keeps the connection to CloudCore', async () => {
    await using it = await startRelayRig();
    const first = await it.edge(NODE);
    await eventually('it is connected', () => it.hub.get(NODE)?.upstream?.state === 'open');
    const second = await it.edge(NODE);
    await eventually('the first is gone', () => !first.isOpen);
    expect(await second.ask('query', LEASE)).toBeDefined();
    expect(it.cloudcore.connects).toHaveLength(1);
  });

  test('U2: without NATS, a gateway whose edge is gone does not take the node back from the gateway that has it', async () => {
    await using it = await startRelayRig();
    it.fronts.push(await it.startFront());
    const gone = await it.edge(NODE);
    const [first, second] = it.fronts.map(({ hub }) => hub);
    await eventually('it is connected', () => first!.get(NODE)?.upstream?.state === 'open');
    gone.vanish();
    const edge = await it.edge(NODE);
    await eventually('it is taken over', () => first!.get(NODE)?.upstream?.state === 'waiting');
    await advanceUntil(it.clock, () => first!.get(NODE) === undefined, 1_000);
    expect(it.cloudcore.connects).toHaveLength(2);
    expect(second!.get(NODE)?.upstream).toMatchObject({ state: 'open', reconnects: 0 });
    expect(await edge.ask('query', LEASE)).toBeDefined();
    expect(edge.counts).toMatchObject({ closes: 0, unanswered: 0, twice: 0 });
  });

  test('U2: two edges of one name at two gateways take CloudCore from each other ever more slowly', async () => {
    await using it = await startRelayRig();
    it.fronts.push(await it.startFront());
    const edges = [await it.edge(NODE), await it.edge(NODE)];
    await eventually('both came', () => it.cloudcore.connects.length >= 2);
    const end = it.clock.monotonic() + 30_000;
    const isOver = () => {
      // CloudCore has something to say to whoever is there.
      for (const edge of edges) void edge.ask('query', LEASE);
      return it.clock.monotonic() >= end;
    };
    await advanceUntil(it.clock, isOver, 500);
    expect(it.cloudcore.connects.length).toBeLessThan(25);
    expect(it.cloudcore.nodes).toEqual([NODE]);
  });

  test('U1: own messages go beside those of CloudCore, and what the edge answers to them stays here', async () => {
    await using it = await startRelayRig();
    const edge = await it.edge(NODE);
    const message = createMessage(
      { source: 'app', group: 'resource', operation: 'update', resource: 'default/x/y' },
      1,
      { id: 'own-1', now: 1 },
    );
    const fate = await it.hub.send({ node: NODE, message, wait: 'ack' });
    expect(fate.kind).toBe('acknowledged');
    // Twice, as a late one may come.
    edge.tell({ ...message.route, operation: 'response' }, 'OK', 'own-1');
    await edge.ask('query', LEASE);
    expect(it.cloudcore.heard.some(({ message: { header } }) => header.parent_msg_id === 'own-1')).toBe(
      false,
    );
  });

  test('U1: nothing is said to CloudCore, nor copied for cloud programs, before it is known that the node is ours', async () => {
    const ownership = new SlowOwnership();
    await using it = await startRelayRig({ copy: true, ownership });
    const edge = await it.edge(NODE);
    const answer = edge.ask('query', LEASE);
    await eventually('it waits', () => it.hub.get(NODE)?.upstream?.questions === 1);
    expect([it.events, it.cloudcore.connects]).toEqual([[], []]);
    ownership.claims[0]!.holder.held(5);
    expect(await answer).toBeDefined();
    const told = it.events.map(({ event }) =>
      event.type === 'message' ? event.message.route.resource : event.type,
    );
    expect(told).toEqual(['connected', `node/${NODE}/membership/detail`, `node/${NODE}/${LEASE}`]);
  });
});

/** Less than `hub.rate` lets a node send at once. */
const MANY = 32;
const MIB = 1024 * 1024;
const PADDING = 'x'.repeat(MIB);
const numbers = () => Array.from({ length: MANY }, (_, n) => `m-${n}`);

/** A large message that nobody answers. */
function event(n: number): string {
  const route = { source: 'edged', group: 'meta', operation: 'insert', resource: 'default/event/e' };
  return frameText({ header: { msg_id: `m-${n}`, timestamp: 1 }, route, content: PADDING });
}

/** Until a number has been the same, and not 0, in many looks one after the other. */
async function standsStill(read: () => number): Promise<void> {
  let last = -1;
  let same = 0;
  await eventually('it stands still', async () => {
    const now = read();
    same = now === last && now > 0 ? same + 1 : 0;
    last = now;
    return same >= 30;
  });
}

function recordedText(line: number): string {
  return frameText(recordedFrame(line));
}
