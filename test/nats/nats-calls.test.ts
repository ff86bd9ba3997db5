import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LocalNodes, NodeInfo } from '../../src/contracts/node-directory.ts';
import { FleetDirectory } from '../../src/fleet/fleet-directory.ts';
import { eventually } from '../support/eventually.ts';
import { type FleetMember, startFleetMember } from '../support/fleets/nats-fleet.ts';
import { type NatsServer, startNatsServer } from '../support/fleets/nats-server.ts';
import { someNode } from '../unit/admin/admin-fixture.ts';

let server: NatsServer;
let r1: FleetMember;
let r2: FleetMember;
beforeAll(async () => {
  server = await startNatsServer();
  r1 = await startFleetMember({ url: server.url, replica: 'r1' });
  r2 = await startFleetMember({ url: server.url, replica: 'r2' });
  await Promise.all([r1.sure(), r2.sure()]);
  await eventually('they see each other', () =>
    [r1, r2].every(({ replicas }) => replicas.list().length === 2),
  );
});
afterAll(async () => {
  await Promise.all([r1[Symbol.asyncDispose](), r2[Symbol.asyncDispose]()]);
  await server[Symbol.asyncDispose]();
});

const nodesOf = (nodes: readonly NodeInfo[]): LocalNodes => ({
  list: () => nodes,
  get: (node) => nodes.find((one) => one.node === node),
  disconnect: () => false,
  send: async () => ({ kind: 'queued' }),
});
const many = (replica: string, count: number) =>
  Array.from({ length: count }, (_, index) => ({ ...someNode, node: `${replica}-${index}`, replica }));

test('20,000 nodes of another replica are listed whole, in parts', async () => {
  const here = new FleetDirectory({ ...r1, local: nodesOf(many('r1', 10)) });
  new FleetDirectory({ ...r2, local: nodesOf(many('r2', 20_000)) });
  const { items, unanswered } = await here.list();
  expect(unanswered).toEqual([]);
  expect(items).toHaveLength(20_010);
  expect(new Set(items.map(({ node }) => node)).size).toBe(20_010);
});

test('a node that both tell, because it moves just now, is listed once, by its later session', async () => {
  const [old, late] = ['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:05.000Z'];
  const here = new FleetDirectory({
    ...r1,
    local: nodesOf([{ ...someNode, replica: 'r1', connectedSince: old }]),
  });
  new FleetDirectory({ ...r2, local: nodesOf([{ ...someNode, replica: 'r2', connectedSince: late }]) });
  expect((await here.list()).items.map(({ replica }) => replica)).toEqual(['r2']);
});

test('a replica that does not listen is known at once, a silent one in time, and a failed answer says why', async () => {
  const nobody = { replica: 'nobody', run: 'gone' };
  const begun = Date.now();
  await expect(r1.calls.ask(nobody, 'info')).rejects.toMatchObject({
    code: 'REPLICA_UNREACHABLE',
    details: { replica: 'nobody', problem: 'it does not listen' },
  });
  expect(Date.now() - begun).toBeLessThan(1_500);
  r2.calls.serve('served', () => new Promise(() => {}));
  await expect(r1.calls.ask(r2.replicas.self, 'served', {}, { timeoutMs: 50 })).rejects.toMatchObject({
    code: 'REPLICA_UNREACHABLE',
    details: { replica: 'r2', problem: 'nothing came for 50 ms' },
  });
  r2.calls.serve('served', () => {
    throw new Error('out of order');
  });
  await expect(r1.calls.ask(r2.replicas.self, 'served')).rejects.toThrow(/out of order/);
  const aborted = AbortSignal.abort(new Error('the caller went away'));
  await expect(r1.calls.ask(r2.replicas.self, 'served', {}, { signal: aborted })).rejects.toThrow(
    /went away/,
  );
});

test('what a replica does not tell is missing, and named', async () => {
  const here = new FleetDirectory({ ...r1, local: nodesOf(many('r1', 2)) });
  r2.calls.serve('nodes.list', () => {
    throw new Error('too busy');
  });
  const { items, unanswered } = await here.list();
  expect(items).toHaveLength(2);
  expect(unanswered).toMatchObject([{ replica: 'r2', problem: expect.stringMatching(/too busy/) }]);
});
