import type { ReplicaCalls } from '../contracts/replica-calls.ts';
import { SallyportError } from '../core/errors.ts';

/** Questions between replicas where there is one: nobody asks, and there is nobody to ask. */
export const localCalls: ReplicaCalls = {
  serve: () => {},
  ask: async ({ replica }) => {
    throw new SallyportError('REPLICA_UNREACHABLE', { replica, problem: 'this hub runs alone' });
  },
};
