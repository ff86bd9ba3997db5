import type { Clock } from '../../core/clock.ts';
import { checkCredentials } from './edge-credentials.ts';
import { checkReach } from './edge-network.ts';
import type { EdgeTarget } from './edge-target.ts';
import { checkTls } from './edge-tls.ts';
import type { Finding } from './finding.ts';

/** From the outside in: what comes later is only asked when what it stands on is there. */
export async function diagnoseFromEdge(target: EdgeTarget, clock: Clock): Promise<readonly Finding[]> {
  const { findings, reachable } = await checkReach(target);
  const [address] = reachable;
  const tls = address === undefined ? [] : await checkTls(target, address, clock);
  return [...findings, ...tls, ...(await checkCredentials(target, address, clock))];
}
