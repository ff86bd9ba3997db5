import { countCalls } from '../test/support/kube/kube-idle.ts';

/**
 * The calls at start and in an idle hour on a simulated clock, aim: one read a minute a Secret. The API
 * server is the tests' own, in memory.
 */
export async function benchKube(): Promise<void> {
  const counts = await countCalls({ idleMs: 3_600_000 });
  for (const [when, { calls, connections }] of Object.entries(counts)) {
    const sum = [...calls.values()].reduce((total, count) => total + count, 0);
    const each = [...calls].map(([call, count]) => `${call} ${count}`).join(', ');
    console.log(`kube      ${when.padEnd(5)} ${sum} calls, ${connections} connections: ${each}`);
  }
}
