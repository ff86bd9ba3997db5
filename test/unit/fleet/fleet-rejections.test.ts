import { expect, test } from 'vitest';
import { FleetRejections } from '../../../src/fleet/fleet-rejections.ts';
import { RejectionLog } from '../../../src/listeners/rejection-log.ts';
import { LinkedReplicas } from '../../fakes/linked-replicas.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

/** Two replicas that saw different things. */
async function fleet() {
  const clock = new ManualClock();
  const linked = new LinkedReplicas('r1', 'r2');
  const [r1, r2] = linked.all.map((parts) => {
    const log = new RejectionLog({ clock });
    return { log, rejections: new FleetRejections({ ...parts, local: log }) };
  }) as [Replica, Replica];
  const refuse = async ({ log }: Replica, remoteAddress: string, node?: string) => {
    log.record({
      listener: 'websocket',
      reason: node ? 'expired' : 'no-certificate',
      remoteAddress,
      node,
      detail: '-',
    });
    await clock.advance(1_000);
  };
  return { linked, r1, r2, refuse };
}
type Replica = { readonly log: RejectionLog; readonly rejections: FleetRejections };

const told = (items: readonly { replica: string; node?: string; remoteAddress: string }[]) =>
  items.map(({ replica, node, remoteAddress }) => `${replica} ${node ?? remoteAddress}`);

test('F4: every replica tells whom any of them refused, latest first, and which one it was', async () => {
  const { r1, r2, refuse } = await fleet();
  await refuse(r1, '192.0.2.1');
  await refuse(r2, '192.0.2.2', 'edge-1');
  await refuse(r1, '192.0.2.2', 'edge-1');
  const all = ['r1 edge-1', 'r2 edge-1', 'r1 192.0.2.1'];
  for (const { rejections } of [r1, r2])
    expect(told((await rejections.list({ limit: 100 })).items)).toEqual(all);
  const of = async (wish: { node?: string; reason?: string }) =>
    told((await r2.rejections.list({ ...wish, limit: 100 })).items);
  expect(await of({ node: 'edge-1' })).toEqual(['r1 edge-1', 'r2 edge-1']);
  expect(await of({ reason: 'no-certificate' })).toEqual(['r1 192.0.2.1']);
});

test('F4: a replica that does not answer is named, and the others are told', async () => {
  const { linked, r1, r2, refuse } = await fleet();
  await refuse(r1, '192.0.2.1');
  await refuse(r2, '192.0.2.2');
  linked.alive.delete('r2');
  const { items, unanswered } = await r1.rejections.list({ limit: 100 });
  expect(told(items)).toEqual(['r1 192.0.2.1']);
  expect(unanswered).toMatchObject([{ replica: 'r2', problem: expect.stringContaining('does not listen') }]);
});

test('I14: no replica sends or tells more than the limit, and strangers push no node out of it', async () => {
  const { linked, r1, r2, refuse } = await fleet();
  await refuse(r1, '192.0.2.1', 'edge-1');
  await refuse(r2, '192.0.2.2', 'edge-2');
  for (let one = 1; one <= 20; one++) await refuse(one % 2 ? r1 : r2, `198.51.100.${one}`);
  const { items } = await r1.rejections.list({ limit: 4 });
  expect(told(items)).toEqual(['r2 198.51.100.20', 'r1 198.51.100.19', 'r2 edge-2', 'r1 edge-1']);
  expect(linked.asked).toEqual([{ limit: 4 }]);
  const [from] = linked.all;
  const answer = (limit: unknown) =>
    from!.calls.ask({ replica: 'r2', run: 'run-of-r2' }, 'rejections', { limit });
  expect(await answer(4)).toHaveLength(4);
  // Of our own code, and parsed all the same.
  for (const limit of ['all', -1, null, undefined]) expect(await answer(limit)).toEqual([]);
});
