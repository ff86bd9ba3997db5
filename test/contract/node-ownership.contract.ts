import { expect, test } from 'vitest';
import type { ClaimHolder, NodeOwner, NodeOwnership } from '../../src/contracts/node-ownership.ts';
import { eventually } from '../support/eventually.ts';

/** Writes down what a session is told of its claim. */
export class RecordingHolder implements ClaimHolder {
  readonly told: string[] = [];
  taken: { readonly from: NodeOwner; readonly changes: number } | undefined;
  lostTo: NodeOwner | undefined;

  took(from: NodeOwner, changes: number): void {
    this.taken = { from, changes };
  }

  held(): void {
    this.told.push('held');
  }

  suspended(): void {
    this.told.push('suspended');
  }

  lost(to: NodeOwner): void {
    this.lostTo = to;
    this.told.push('lost');
  }
}

export function claimNode(
  ownership: NodeOwnership,
  node: string,
  { sessionId, since = Date.now() }: { sessionId: string; since?: number },
) {
  const holder = new RecordingHolder();
  const claim = ownership.claim({ node, sessionId, transport: 'websocket', since }, holder);
  const held = () => eventually(`${sessionId} holds ${node}`, () => claim.state === 'held');
  return { holder, claim, held };
}

export interface OwnershipFixture extends AsyncDisposable {
  readonly ownership: NodeOwnership;
}

/** What every ownership does, alone or in a fleet. */
export function nodeOwnershipContract(start: () => Promise<OwnershipFixture>): void {
  test('a claim is held, and tells whose the node is', async () => {
    await using fixture = await start();
    const { ownership } = fixture;
    expect(await ownership.owner('edge-1')).toBeUndefined();
    const { claim, holder, held } = claimNode(ownership, 'edge-1', { sessionId: 's1', since: 1_000 });
    await held();
    expect(holder.told).toEqual(['held']);
    expect(holder.taken).toBeUndefined();
    expect(await ownership.owner('edge-1')).toEqual({
      ...ownership.self,
      sessionId: 's1',
      transport: 'websocket',
      epoch: claim.epoch,
      at: 1_000,
    });
    expect(await ownership.owner('edge-2')).toBeUndefined();
    expect(ownership.problem()).toBeUndefined();
    expect(ownership.replicas()).toContainEqual(ownership.self);
  });

  test('a released node is free', async () => {
    await using fixture = await start();
    const { claim, held } = claimNode(fixture.ownership, 'edge-1', { sessionId: 's1' });
    await held();
    claim.release();
    expect(claim.state).toBe('over');
    await eventually('the node is free', async () => !(await fixture.ownership.owner('edge-1')));
  });

  test('G3: the newest claim has the node; the one it replaces hears nothing, and its release changes nothing', async () => {
    await using fixture = await start();
    const { ownership } = fixture;
    const first = claimNode(ownership, 'edge-1', { sessionId: 's1' });
    await first.held();
    const second = claimNode(ownership, 'edge-1', { sessionId: 's2' });
    await second.held();
    expect(first.claim.state).toBe('over');
    expect(first.holder.told).toEqual(['held']);
    expect(second.claim.epoch).toBeGreaterThan(first.claim.epoch!);
    first.claim.release();
    const later = claimNode(ownership, 'edge-2', { sessionId: 's3' });
    await later.held();
    later.claim.release();
    await eventually('a later release was heard', async () => !(await ownership.owner('edge-2')));
    expect(await ownership.owner('edge-1')).toMatchObject({ sessionId: 's2', epoch: second.claim.epoch });
  });

  test('the epoch grows over releases too', async () => {
    await using fixture = await start();
    let last = 0;
    for (const sessionId of ['s1', 's2', 's3']) {
      const { claim, held } = claimNode(fixture.ownership, 'edge-1', { sessionId });
      await held();
      expect(claim.epoch).toBeGreaterThan(last);
      last = claim.epoch!;
      claim.release();
    }
  });

  test('I12: of 200 claims at once for one node the last one has it', async () => {
    await using fixture = await start();
    const claims = Array.from({ length: 200 }, (_, index) =>
      claimNode(fixture.ownership, 'edge-1', { sessionId: `s${index}` }),
    );
    await claims.at(-1)!.held();
    expect(claims.filter(({ claim }) => claim.state !== 'over')).toHaveLength(1);
    expect(await fixture.ownership.owner('edge-1')).toMatchObject({ sessionId: 's199' });
  });
}
