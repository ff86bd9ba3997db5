import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { LocalOwnership } from '../../src/fleet/local-ownership.ts';
import { claimNode, nodeOwnershipContract } from './node-ownership.contract.ts';

const start = async () => ({
  ownership: new LocalOwnership({ clock: systemClock }, { replica: 'r1' }),
  async [Symbol.asyncDispose]() {},
});

nodeOwnershipContract(start);

test('alone, a claim is held in the same turn', async () => {
  const { ownership } = await start();
  expect(claimNode(ownership, 'edge-1', { sessionId: 's1' }).claim.state).toBe('held');
});
