import { rm } from 'node:fs/promises';
import { type KV, Kvm } from '@nats-io/kv';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { claimNode, nodeOwnershipContract } from '../contract/node-ownership.contract.ts';
import { TcpRelay } from '../support/edges/tcp-relay.ts';
import { eventually } from '../support/eventually.ts';
import { startFleetMember } from '../support/fleets/nats-fleet.ts';
import { type NatsServer, startNatsServer } from '../support/fleets/nats-server.ts';

let server: NatsServer;
let prefixes = 0;
beforeAll(async () => {
  server = await startNatsServer();
});
afterAll(() => server[Symbol.asyncDispose]());

/** Members that see each other; every test has buckets of its own. */
async function fleet(...names: string[]) {
  const prefix = `t${prefixes++}`;
  const members = await Promise.all(
    names.map((replica) => startFleetMember({ url: server.url, replica, prefix })),
  );
  await Promise.all(members.map((member) => member.sure()));
  const all = () => members.every(({ replicas }) => replicas.list().length === members.length);
  await eventually('all see all', all);
  return {
    members,
    prefix,
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map((member) => member[Symbol.asyncDispose]()));
    },
  };
}

describe('as every ownership', () => {
  nodeOwnershipContract(async () => {
    const one = await fleet('r1');
    return { ownership: one.members[0]!.ownership, [Symbol.asyncDispose]: () => one[Symbol.asyncDispose]() };
  });
});

test('a node that reconnects elsewhere is taken over at once, and the old replica is told', async () => {
  await using two = await fleet('r1', 'r2');
  const [r1, r2] = two.members;
  const old = claimNode(r1!.ownership, 'edge-1', { sessionId: 's1' });
  await old.held();
  const now = claimNode(r2!.ownership, 'edge-1', { sessionId: 's2' });
  await now.held();
  expect(now.holder.taken).toMatchObject({ from: { replica: 'r1', sessionId: 's1' }, changes: 1 });
  expect(now.claim.epoch).toBeGreaterThan(old.claim.epoch!);
  await eventually('r1 lets go', () => old.holder.told.includes('lost'));
  expect(old.holder.lostTo).toMatchObject({ replica: 'r2', sessionId: 's2', epoch: now.claim.epoch });
  expect(await r1!.ownership.owner('edge-1')).toMatchObject({ replica: 'r2', sessionId: 's2' });
  // A late write of the old one: nothing changes.
  old.claim.release();
  expect(await r2!.ownership.owner('edge-1')).toMatchObject({ sessionId: 's2' });
});

test('who takes a node and is gone before it holds it is still told whose session it has ended', async () => {
  await using two = await fleet('r1', 'r2');
  const [r1, r2] = two.members;
  for (let round = 0; round < 20; round++) {
    const node = `edge-${round}`;
    const old = claimNode(r1!.ownership, node, { sessionId: 'old' });
    await old.held();
    // Released at another moment of its way each time: before, while and after its entry is written.
    const brief = claimNode(r2!.ownership, node, { sessionId: 'brief' });
    for (let turn = 0; turn < round; turn++) await new Promise((resolve) => setImmediate(resolve));
    brief.claim.release();
    const last = claimNode(r2!.ownership, node, { sessionId: 'last' });
    await last.held();
    const tellers = [brief, last].filter(({ holder }) => holder.taken?.from.sessionId === 'old');
    expect(tellers).toHaveLength(1);
    await eventually('the old one lets go', () => old.holder.told.at(-1) === 'lost');
  }
});

test('I12: one node that connects to two replicas again and again is left with one owner', async () => {
  await using two = await fleet('r1', 'r2');
  const claims: ReturnType<typeof claimNode>[] = [];
  for (let round = 0; round < 100; round++) {
    claims.push(claimNode(two.members[round % 2]!.ownership, 'edge-1', { sessionId: `s${round}` }));
    if (round % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const alive = () => claims.filter(({ claim }) => claim.state !== 'over');
  await eventually('one is left', () => alive().length === 1 && alive()[0]!.claim.state === 'held');
  const [winner] = alive();
  const owners = await Promise.all(two.members.map(({ ownership }) => ownership.owner('edge-1')));
  for (const owner of owners) expect(owner?.sessionId).toBe(winner!.claim.sessionId);
});

test('the last known owner is asked for once, and again as soon as a change is heard', async () => {
  await using two = await fleet('r1', 'r2');
  const [r1, r2] = two.members;
  const lastKnown = async () => (await r2!.ownership.lastKnownOwner('edge-1'))?.sessionId;
  expect(await lastKnown()).toBeUndefined();
  await claimNode(r1!.ownership, 'edge-1', { sessionId: 's1' }).held();
  expect(await lastKnown()).toBe('s1');
  const second = claimNode(r1!.ownership, 'edge-1', { sessionId: 's2' });
  await second.held();
  await eventually('the second session is heard of', async () => (await lastKnown()) === 's2');
  second.claim.release();
  await eventually('the node is free', async () => (await lastKnown()) === undefined);
  await claimNode(r1!.ownership, 'edge-1', { sessionId: 's3' }).held();
  expect(await lastKnown()).toBe('s3');
  await r1!.kill();
  await eventually('its replica is gone', async () => (await lastKnown()) === undefined);
});

test('a replica that dies without a word is noticed, and its nodes are free; who comes back does not wait', async () => {
  await using two = await fleet('r1', 'r2');
  const [r1, r2] = two.members;
  for (const node of ['edge-1', 'edge-2']) await claimNode(r1!.ownership, node, { sessionId: node }).held();
  await r1!.kill();
  const back = claimNode(r2!.ownership, 'edge-1', { sessionId: 'back' });
  await back.held();
  expect(back.holder.taken).toMatchObject({ from: { replica: 'r1' } });
  await eventually('edge-2 is free', async () => !(await r2!.ownership.owner('edge-2')));
  expect(r2!.replicas.list()).toEqual([r2!.replicas.self]);
  const left = [];
  for await (const gone of r2!.ownership.abandoned()) left.push(gone.node);
  expect(left).toEqual(['edge-2']);
});

test('split brain: a replica that is cut off relies on no claim, and lets go of what moved meanwhile when it is back', async () => {
  const prefix = `t${prefixes++}`;
  await using relay = await TcpRelay.to(server.port);
  await using cut = await startFleetMember({ url: `nats://127.0.0.1:${relay.port}`, replica: 'cut', prefix });
  await using other = await startFleetMember({ url: server.url, replica: 'other', prefix });
  await Promise.all([cut.sure(), other.sure()]);
  const moved = claimNode(cut.ownership, 'moved', { sessionId: 'm1' });
  const stays = claimNode(cut.ownership, 'stays', { sessionId: 's1' });
  await Promise.all([moved.held(), stays.held()]);

  relay.cut();
  await eventually('the claims are suspended', () => stays.claim.state === 'suspended');
  expect(moved.claim.state).toBe('suspended');
  expect(cut.ownership.problem()).toBeDefined();
  await expect(cut.ownership.owner('nobody')).rejects.toMatchObject({ code: 'BUS_UNAVAILABLE' });
  const during = claimNode(cut.ownership, 'during', { sessionId: 'd1', since: Date.now() - 60_000 });
  const provisional = claimNode(cut.ownership, 'provisional', { sessionId: 'p1' });
  expect(provisional.claim).toMatchObject({ state: 'suspended', epoch: undefined });
  const winners = ['moved', 'during'].map((node) =>
    claimNode(other.ownership, node, { sessionId: `${node}-2` }),
  );
  await Promise.all(winners.map(({ held }) => held()));

  relay.mend();
  await Promise.all([stays.held(), provisional.held()]);
  await eventually(
    'what moved is let go',
    () => moved.claim.state === 'over' && during.claim.state === 'over',
  );
  expect(stays.holder.told).toEqual(['held', 'suspended', 'held']);
  expect(moved.holder.told).toEqual(['held', 'suspended', 'lost']);
  // The session that began later has the node, although its replica heard of it later.
  expect(during.holder.told).toEqual(['suspended', 'lost']);
  for (const { claim } of winners) expect(claim.state).toBe('held');
  expect(await other.ownership.owner('stays')).toMatchObject({ replica: 'cut' });
});

test('a replica that was believed dead, and cleared up behind, claims its nodes anew with a new epoch', async () => {
  await using two = await fleet('r1', 'r2');
  const [r1, r2] = two.members;
  const mine = claimNode(r1!.ownership, 'edge-1', { sessionId: 's1' });
  await mine.held();
  const before = mine.claim.epoch!;
  const { connection } = r2!;
  const kv = await new Kvm(connection.current()).open(`${two.prefix}-nodes`);
  await kv.delete('edge-1');
  await eventually(
    'it is claimed anew',
    () => (mine.claim.epoch ?? 0) > before && mine.claim.state === 'held',
  );
  expect(await r2!.ownership.owner('edge-1')).toMatchObject({ replica: 'r1', epoch: mine.claim.epoch });
});

test('NATS that lost everything gets every claim again', async () => {
  await using own = await startNatsServer();
  await using member = await startFleetMember({ url: own.url, replica: 'r1', prefix: 'lost' });
  await member.sure();
  const claims = Array.from({ length: 20 }, (_, index) =>
    claimNode(member.ownership, `edge-${index}`, { sessionId: `s${index}` }),
  );
  await Promise.all(claims.map(({ held }) => held()));
  await own.kill();
  await rm(`${own.folder}/store`, { recursive: true, force: true });
  await eventually('they are suspended', () => claims.every(({ claim }) => claim.state === 'suspended'));
  await own.start();
  await eventually('they are held again', () => claims.every(({ claim }) => claim.state === 'held'));
  expect(await member.ownership.owner('edge-7')).toMatchObject({ sessionId: 's7' });
});

test('one write a connect, one a disconnect, and none while nothing happens', async () => {
  await using one = await fleet('r1');
  const { ownership, connection } = one.members[0]!;
  const kvm = new Kvm(connection.current());
  const [nodes, replicas] = await Promise.all([
    kvm.open(`${one.prefix}-nodes`),
    kvm.open(`${one.prefix}-replicas`),
  ]);
  const writesTo = async (kv: KV) => (await kv.status()).streamInfo.state.last_seq;
  const writes = () => writesTo(nodes);
  const claims = Array.from({ length: 500 }, (_, index) =>
    claimNode(ownership, `edge-${index}`, { sessionId: `s${index}` }),
  );
  await Promise.all(claims.map(({ held }) => held()));
  expect(await writes()).toBe(500);
  const beats = await writesTo(replicas);
  await eventually('five signs of life', async () => (await writesTo(replicas)) >= beats + 5);
  expect(await writes()).toBe(500);
  for (const { claim } of claims) claim.release();
  await eventually('all are given up', async () => (await writes()) === 1_000);
});

test('L8: NATS alone tells two living replicas of one name of each other, until one has gone', async () => {
  await using same = await fleet('r1', 'r1', 'r2');
  const [one, two, other] = same.members;
  for (const { namesakes } of [one!, two!])
    await eventually('it is told', () => namesakes.problem() !== undefined);
  expect(other!.namesakes.problem()).toBeUndefined();
  await two!.replicas.stop();
  await eventually('the name is its own', () => one!.namesakes.problem() === undefined);
});
